"""An ASGI application under uvicorn that is asked for PATH, and ended when a record of that is kept: hanging_asgi.py PATH."""
import asyncio
import os
import socket
import sys
import threading
import time

import uvicorn
from hanging import ask, recorded


async def waits_for_nobody():
    await asyncio.Event().wait()


async def application(scope, receive, send):
    if scope["type"] == "lifespan":
        while (await receive())["type"] == "lifespan.startup":
            await send({"type": "lifespan.startup.complete"})
        await send({"type": "lifespan.shutdown.complete"})
    elif scope["path"] == "/block":
        time.sleep(600)
    else:
        await waits_for_nobody()


def visit(port, path):
    connection = ask(port, path)
    until = time.monotonic() + 60
    while not recorded() and time.monotonic() < until:
        time.sleep(0.05)
    connection.close()
    os._exit(0)


if __name__ == "__main__":
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    threading.Thread(target=visit, args=(listener.getsockname()[1], sys.argv[1])).start()
    uvicorn.Server(uvicorn.Config(application, log_level="warning")).run(sockets=[listener])
