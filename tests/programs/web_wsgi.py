"""A bare WSGI application; run as a program it is served by wsgiref and prints its port."""
import os
import sys

from web_hold import hold


class Stream:
    """An iterable with its own close."""

    def __iter__(self):
        yield b"one "
        yield hold().encode()

    def close(self):
        sys.stderr.write("closed\n")


def fail_late():
    yield b"one "
    raise RuntimeError("in the middle")  # MARK: late


def application(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/fail":
        raise ValueError("no good")  # MARK: raise
    body = hold().encode() if path == "/hold" else b"hello"
    status = "404 Not Found" if path == "/missing" else "200 OK"
    start_response(status, [("Content-Type", "text/plain")])
    if path == "/stream":
        return Stream()
    if path == "/late":
        return fail_late()
    if path == "/file":
        return environ["wsgi.file_wrapper"](open(__file__, "rb"))
    return [body]


if __name__ == "__main__":
    from wsgiref.simple_server import make_server

    with make_server("127.0.0.1", 0, application) as server:
        print(server.server_port, flush=True)
        server.serve_forever()
