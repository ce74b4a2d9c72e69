"""push.py celery|rq COUNT LONGEST: puts so many tasks into the queue, each of 0 to LONGEST seconds."""

import os
import random
import sys

system, count, longest = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
chance = random.Random(20261125)
tasks = [(number, chance.uniform(0, longest)) for number in range(count)]

if system == "celery":
    import celery_tasks

    with celery_tasks.app.producer_pool.acquire() as producer:
        for task in tasks:
            celery_tasks.work.apply_async(task, producer=producer)
else:
    import redis
    import rq

    queue = rq.Queue(connection=redis.Redis.from_url(os.environ["REDIS_URL"]))
    queue.enqueue_many([rq.Queue.prepare_data("rq_tasks.work", task) for task in tasks])
