"""A WSGI application whose worker ends in the way that the path names."""
import ctypes
import os
import sys
import time


def loop():
    while True:
        pass


WAYS = {
    "/fault": lambda: ctypes.string_at(0),
    "/kill": lambda: os.kill(os.getpid(), 9),
    "/os._exit": lambda: os._exit(7),
    "/sys.exit": lambda: sys.exit(7),
    "/sleep": lambda: time.sleep(60),
    "/loop": loop,
    "/spin": lambda: ctypes.PyDLL(os.environ["LIBRARY"]).fault_spin(),
    "/raise": lambda: {}["sku"],
}


def application(environ, start_response):
    WAYS.get(environ["PATH_INFO"], time.time)()
    start_response("200 OK", [("Content-Length", "0")])
    return []


if os.environ["BOOT"] == "/boot":
    {}["sku"]
