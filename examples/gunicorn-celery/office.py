"""A post office: the page takes letters, tasks deliver them."""

import os
import time

import redis
from celery import Celery

tasks = Celery("office", broker=os.environ["REDIS_URL"])
tasks.conf.broker_connection_retry_on_startup = True
book = redis.Redis.from_url(os.environ["REDIS_URL"])


@tasks.task
def deliver(number, text):
    time.sleep(1)  # stands for the way to the letterbox
    book.hincrby("delivered", number, 1)
    print(f"letter {number} is delivered: {text}")


def page(environ, start):
    """GET / counts, POST / takes a letter, GET /healthz answers when Redis does."""
    if environ["REQUEST_METHOD"] == "POST":
        text = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0)).decode()
        number = book.incr("letters")
        deliver.delay(number, text)
        status, body = "201 Created", f"letter {number}\n"
    elif environ["PATH_INFO"] == "/healthz":
        book.ping()
        status, body = "200 OK", "ok\n"
    else:
        posted, delivered = int(book.get("letters") or 0), book.hvals("delivered")
        twice = sum(int(count) > 1 for count in delivered)
        status, body = "200 OK", f"posted: {posted}\ndelivered: {len(delivered)}\ntwice: {twice}\n"
    start(status, [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(body.encode())))])
    return [body.encode()]
