"""A task that counts in Redis how often it was begun and done."""

import os
import time

import redis
from celery import Celery

app = Celery("tasks", broker=os.environ["REDIS_URL"])
app.conf.broker_connection_retry_on_startup = True
counts = redis.Redis.from_url(os.environ["REDIS_URL"])


@app.task
def work(number, seconds):
    counts.incr("begun:%d" % number)
    time.sleep(seconds)
    counts.rpush("done", number)
