"""RQ's worker, but for one thing: TERM between taking a job and beginning it does not lose that job."""

import rq
from rq.exceptions import StopRequested


class Worker(rq.Worker):
    def request_stop(self, *_):
        self._stop_requested = True

    def dequeue_job_and_maintain_ttl(self, timeout, max_idle_time=None):
        # It looks up from its waiting every second. RQ's own worker is torn out of it, with what it has in its hand.
        while not self._stop_requested:
            taken = super().dequeue_job_and_maintain_ttl(timeout, max_idle_time=1)
            if taken is not None:
                return taken
        raise StopRequested
