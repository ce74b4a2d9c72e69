"""A worker: makes one order after the other. On TERM it finishes the one in hand, then ends."""

import os
import select
import signal
import sys
import threading
import time

import orders

NAME = os.environ.get("SVD_INSTANCE", "worker")

# TERM sets a flag, which is looked at between two orders, and makes `term` readable, which ends a wait.
stopping = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: stopping.set())
term, term_write = os.pipe()
os.set_blocking(term_write, False)
signal.set_wakeup_fd(term_write)


def make(number, item):
    print(f"order {number}: making {item}")
    time.sleep(0.5)  # stands for the work


def wait(bell):
    """Sleeps until a new order rings the bell or TERM comes."""
    ready, _, _ = select.select([bell, term], [], [])
    if bell in ready:
        try:
            os.read(bell, 1)  # one ring, so that the next one wakes the next worker
        except BlockingIOError:
            pass  # another worker was faster


bell = orders.open_bell()  # before the first look at the queue, so that no ring is missed
db = orders.connect()
if returned := orders.give_back(db, NAME):
    print(f"put back {returned} unfinished")
print("waiting for orders")
while not stopping.is_set():
    order = orders.claim(db, NAME)
    if order is None:
        wait(bell)
        continue
    number, item = order
    make(number, item)
    orders.finish(db, number)
    print(f"order {number}: {item} is done")
print("closing")
sys.exit(0)
