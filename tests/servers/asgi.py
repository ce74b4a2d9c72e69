"""An ASGI application: says which generation answers; /slow takes half a second. It cannot be loaded where there is a
file named broken."""

import asyncio
import os

NAME = "generation %s, pid %d\n" % (os.environ.get("GENERATION", "?"), os.getpid())
if os.path.exists("broken"):
    raise RuntimeError("this generation does not work")


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": message["type"] + ".complete"})
            if message["type"] == "lifespan.shutdown":
                return
    if scope["path"] == "/slow":
        await asyncio.sleep(0.5)
    body = NAME.encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})
