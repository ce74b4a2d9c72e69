"""What jobs cost svd, and how punctual they are: build with --release, then run this on a machine that is otherwise idle.

python3 tests/bench/jobs.py [JOBS…]     default: 100 1000

For each number of jobs: how often keeper and manager wake up while none of them is due, and how late the programs of a sixtieth
and of all of them begin when they are due at the same instant, beside what a bare loop of fork and exec of the same programs takes on this
machine, which nobody can be quicker than. Each program is a few instructions of C that note the time.
"""
import json, os, shutil, signal, statistics, struct, subprocess, sys, tempfile, time
from pathlib import Path

SVD = Path(os.environ.get("OURS_BIN", Path(__file__).resolve().parents[2] / "target/release/svd"))
SVCTL = SVD.with_name("svctl")
IDLE = 20          # seconds without anything to do
EVERY = 10         # seconds between two instants of all jobs
TICKS = 5          # so many of them are measured
NOTE = r"""
#include <fcntl.h>
#include <time.h>
#include <unistd.h>
int main(int argc, char **argv) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    long long nanos = now.tv_sec * 1000000000LL + now.tv_nsec;
    return write(open(argv[1], O_WRONLY | O_APPEND | O_CREAT, 0600), &nanos, 8) != 8;
}
"""

LOOP = r"""
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
int main(int argc, char **argv) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    printf("%lld", now.tv_sec * 1000000000LL + now.tv_nsec);
    fflush(stdout);
    for (int left = atoi(argv[1]); left > 0; left--)
        if (fork() == 0) {
            execl(argv[2], argv[2], argv[3], (char *) 0);
            _exit(1);
        }
    while (wait(0) > 0);
}
"""


class Svd:
    def __init__(self, directory: Path, config: str):
        (directory / "Procfile.toml").write_text(config)
        self.socket = directory / "root/run/control.sock"
        command = [SVD, "run", "--root", directory / "root"]
        with open(directory / "log", "w") as log:
            self.process = subprocess.Popen(command, cwd=directory, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        deadline = time.monotonic() + 60
        while not self.socket.exists():
            if self.process.poll() is not None or time.monotonic() > deadline:
                sys.exit(f"svd does not come up: {(directory / 'log').read_text()}")
            time.sleep(0.05)
        self.manager = self.status()["svd"]["manager_pid"]

    def status(self) -> dict:
        command = [SVCTL, "--json", "status"]
        return json.loads(subprocess.check_output(command, env={**os.environ, "SVD_CONTROL": str(self.socket)}))

    def end(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(60)


def wakeups(pid: int) -> int:
    """How often its threads have gone to sleep, and so been woken up."""
    total = 0
    for status in Path(f"/proc/{pid}/task").glob("*/status"):
        line = next(line for line in status.read_text().splitlines() if line.startswith("voluntary_ctxt_switches"))
        total += int(line.split()[1])
    return total


def spent(pid: int) -> float:
    """Seconds of processor time, of all its threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


NEVER = "0 0 29 2 *"


def jobs(number: int, run: list[str], due: int = 0) -> str:
    """The first `due` of them are due together again and again, the others not while this measures."""
    one = '[job.j{}]\nrun = {}\nschedule = "{}"\nhistory = {{ keep = 2 }}\n'
    schedule = lambda n: f"every {EVERY}s" if n < due else NEVER
    return "app = \"bench\"\n" + "".join(one.format(n, json.dumps(run), schedule(n)) for n in range(number))


def idle(directory: Path, number: int):
    svd = Svd(directory, jobs(number, ["true"]))
    try:
        time.sleep(5)      # what belongs to the start is over
        pids = {"keeper": svd.process.pid, "manager": svd.manager}
        before = {name: wakeups(pid) for name, pid in pids.items()}
        time.sleep(IDLE)
        found = ", ".join(f"{name} {wakeups(pid) - before[name]}" for name, pid in pids.items())
        print(f"{number} jobs, none due: wake-ups in {IDLE} s: {found}", flush=True)
    finally:
        svd.end()


def noted(times: Path) -> list[float]:
    return [nanos / 1e9 for (nanos,) in struct.iter_unpack("=q", times.read_bytes())]


def bare(directory: Path, number: int, loop: Path, note: Path):
    times = directory / "bare"
    begin = int(subprocess.check_output([loop, str(number), note, times])) / 1e9
    late = [(at - begin) * 1000 for at in noted(times)]
    print(f"{number} of these programs by a bare loop: they begin {statistics.median(late):.1f} ms later at the median, "
          f"{max(late):.1f} at last", flush=True)


def punctual(directory: Path, jobs_in_all: int, number: int, note: Path):
    times = directory / "times"
    svd = Svd(directory, jobs(jobs_in_all, [str(note), str(times)], number))
    try:
        begin = (int(time.time()) // EVERY + 2) * EVERY
        end = begin + TICKS * EVERY - EVERY / 2
        time.sleep(begin - EVERY / 2 - time.time())
        pids = {"keeper": svd.process.pid, "manager": svd.manager}
        before = {name: spent(pid) for name, pid in pids.items()}
        time.sleep(end - time.time())
        cost = {name: (spent(pid) - before[name]) * 1000 / (number * TICKS) for name, pid in pids.items()}
    finally:
        svd.end()
    starts = noted(times)
    late = sorted((at - at // EVERY * EVERY) * 1000 for at in starts if begin <= at < end)
    if len(late) != number * TICKS:
        sys.exit(f"{number} jobs: {len(late)} starts, not {number * TICKS}")
    at = lambda share: late[min(len(late) - 1, int(share * len(late)))]
    print(f"{number} of {jobs_in_all} jobs at the same instant, {TICKS} times: their programs begin {at(0):.1f} ms later at first, "
          f"{statistics.median(late):.1f} at the median, {at(0.99):.1f} at the 99th percentile, {late[-1]:.1f} at last; "
          f"a run costs the keeper {cost['keeper']:.2f} ms and the manager {cost['manager']:.2f} ms", flush=True)


def main():
    base = Path(tempfile.mkdtemp(prefix="svd-jobs-"))
    try:
        note, loop = base / "note", base / "loop"
        for program, text in ((note, NOTE), (loop, LOOP)):
            subprocess.run(["cc", "-O2", "-static", "-x", "c", "-o", program, "-"], input=text, text=True, check=True)
        print(f"{os.cpu_count()} processors, load {os.getloadavg()[0]:.2f} before", flush=True)
        for number in [int(text) for text in sys.argv[1:]] or [100, 1000]:
            one, two = Path(tempfile.mkdtemp(dir=base)), Path(tempfile.mkdtemp(dir=base))
            idle(one, number)
            # As a crontab has them: each hour, spread over its minutes. And the worst that can be.
            for due in sorted({max(1, number // 60), number}):
                punctual(Path(tempfile.mkdtemp(dir=base)), number, due, note)
            bare(two, number, loop, note)
        print(f"load {os.getloadavg()[0]:.2f} after", flush=True)
    finally:
        shutil.rmtree(base)


main()
