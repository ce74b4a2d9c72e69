"""A job that counts in Redis how often it was begun and done."""

import os
import time

import redis

counts = redis.Redis.from_url(os.environ["REDIS_URL"])


def work(number, seconds):
    counts.incr("begun:%d" % number)
    time.sleep(seconds)
    counts.rpush("done", number)
