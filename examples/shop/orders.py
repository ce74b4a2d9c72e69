"""The queue of orders: a table in SQLite, and a bell (a named pipe) that wakes a worker when there is a new one."""

import os
import sqlite3
from contextlib import closing

DB = os.environ.get("SHOP_DB", "data/shop.db")
BELL = DB + ".bell"


def create():
    """Makes the table and the bell where they do not exist yet. Running it again changes nothing."""
    os.makedirs(os.path.dirname(DB) or ".", exist_ok=True)
    with closing(connect()) as db:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute(
            "CREATE TABLE IF NOT EXISTS orders"
            " (id INTEGER PRIMARY KEY, item TEXT NOT NULL, state TEXT NOT NULL DEFAULT 'new', worker TEXT)"
        )
    if not os.path.exists(BELL):
        os.mkfifo(BELL)


def connect():
    """A connection in autocommit mode: each statement is a transaction of its own."""
    return sqlite3.connect(DB, timeout=10, isolation_level=None)


def open_bell():
    """Opened for both directions, so that neither side ever waits for the other one to be there."""
    return os.open(BELL, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)


def add(db, bell, item):
    """Puts an order into the queue and wakes one worker."""
    number = db.execute("INSERT INTO orders (item) VALUES (?)", (item,)).lastrowid
    try:
        os.write(bell, b"!")
    except BlockingIOError:
        pass  # the bell is full of rings that nobody has heard yet: they will do
    return number


def claim(db, worker):
    """Takes the oldest new order, or None. One statement, so two workers can never take the same one."""
    return db.execute(
        "UPDATE orders SET state = 'working', worker = ?"
        " WHERE id = (SELECT id FROM orders WHERE state = 'new' ORDER BY id LIMIT 1) RETURNING id, item",
        (worker,),
    ).fetchone()


def finish(db, number):
    """The order is made."""
    db.execute("UPDATE orders SET state = 'done' WHERE id = ?", (number,))


def give_back(db, worker):
    """Puts back what an earlier life of this worker had in hand when it was killed."""
    return db.execute("UPDATE orders SET state = 'new' WHERE state = 'working' AND worker = ?", (worker,)).rowcount


def counts(db):
    """How many orders are in each state."""
    found = dict(db.execute("SELECT state, count(*) FROM orders GROUP BY state"))
    return {state: found.get(state, 0) for state in ("new", "working", "done")}
