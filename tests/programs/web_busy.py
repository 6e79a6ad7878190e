"""A bare WSGI application that computes for each request, on the thread that serves it."""
import time


def hottest(until):
    total = 0
    while time.monotonic() < until:
        total += sum([number * number for number in range(2000)])  # MARK: hottest
    return total


def application(environ, start_response):
    hottest(time.monotonic() + 0.2)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"done"]
