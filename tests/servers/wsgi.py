"""A WSGI application: says which generation answers; /slow takes half a second. It cannot be
loaded where there is a file named broken."""

import os
import time

NAME = "generation %s, pid %d\n" % (os.environ.get("GENERATION", "?"), os.getpid())
if os.path.exists("broken"):
    raise RuntimeError("this generation does not work")


def app(environ, start):
    if environ["PATH_INFO"] == "/slow":
        time.sleep(0.5)
    body = NAME.encode()
    start("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]
