"""A server that hangs in the way it is told, and who asks it: hanging.py WAY [LIBRARY].

The child is asked and hangs. The parent waits until a record of that is kept (without `diag`, not at all), and ends the
child, by SIGKILL where it cannot be asked any more.
"""
import asyncio
import ctypes
import http.client
import os
import signal
import socketserver
import subprocess
import sys
import threading
import time
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

PARENT = os.getppid()
first, second = threading.Lock(), threading.Lock()
both = threading.Barrier(2)


class Server(socketserver.ThreadingMixIn, WSGIServer):
    daemon_threads = True


class Handler(WSGIRequestHandler):
    def log_message(self, *_):
        pass


def cross(one, other):
    with one:
        both.wait()
        with other:  # MARK: deadlock
            pass


def loop():
    while True:
        pass


def open_fifo():
    os.open("fifo", os.O_RDONLY)  # MARK: fifo


def masked():
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    time.sleep(600)


def poll():
    while True:
        time.sleep(0.05)


PATHS = {
    "/first": lambda: cross(first, second),
    "/second": lambda: cross(second, first),
    "/fifo": open_fifo,
    "/loop": loop,
    "/spin": lambda: ctypes.PyDLL(sys.argv[3]).fault_spin(),
    "/masked": masked,
    "/poll": poll,
    "/byte": lambda: (print("asked", flush=True), os.read(0, 1)),
    "/leave": lambda: os._exit(0),
}


def application(environ, start_response):
    PATHS[environ["PATH_INFO"]]()
    start_response("200 OK", [("Content-Length", "0")])
    return []


def serve():
    server = make_server("127.0.0.1", 0, application, Server, Handler)
    print(server.server_port, flush=True)
    server.serve_forever()


async def turn_no_more():
    print(0, flush=True)
    time.sleep(600)  # MARK: sleep


def wait_for_each_other():
    threads = [threading.Thread(target=cross, args=pair, name=name) for name, pair in PAIRS.items()]
    for thread in threads:
        thread.start()
    print(0, flush=True)
    for thread in threads:
        thread.join()


PAIRS = {"payer": (first, second), "packer": (second, first)}
CHILDREN = {"sleep-in-loop": lambda: asyncio.run(turn_no_more()), "locks": wait_for_each_other}
ASKED = {"deadlock": ["/first", "/second"], "stopped": ["/byte"]}


def ask(port, path):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET", path, headers={"X-Request-ID": "order" + path.replace("/", "-")})
    return connection


def recorded():
    """Whether `diag` has kept a record; at once where there is none to keep it, or none any more."""
    if os.getppid() != PARENT:
        return True
    state = os.path.join(os.environ.get("XDG_STATE_HOME") or os.path.join(os.environ["HOME"], ".local/state"), "diag")
    # Unlike pathlib's, this walk goes on where a folder is moved meanwhile. What is in `new` is still being written.
    kept = (place for place, _, names in os.walk(state) if "manifest.json" in names)
    return "DIAG_PROBE_SOCKET" not in os.environ or any("/spool/new/" not in place for place in kept)


def main(way):
    if way == "fifo":
        os.mkfifo("fifo")
    command = [sys.executable, __file__, "child", way, *sys.argv[2:]]
    child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    port = int(child.stdout.readline())
    asked = [ask(port, path) for path in ASKED.get(way, ["/" + way] if port else [])]
    if way == "stopped":
        child.stdout.readline()
        os.kill(child.pid, signal.SIGSTOP)
    until = time.monotonic() + 60
    while not recorded() and time.monotonic() < until:
        time.sleep(0.05)
    if way == "stopped":
        time.sleep(4 if "DIAG_PROBE_SOCKET" in os.environ else 0)  # as long as a request may take
        os.kill(child.pid, signal.SIGCONT)
        child.stdin.write(b"x")
        child.stdin.flush()
        print(asked[0].getresponse().status)
        asked.append(ask(port, "/leave"))
    else:
        child.kill()
    for connection in asked:
        connection.close()
    print("ended with", child.wait())


if __name__ == "__main__":
    if sys.argv[1] == "child":
        CHILDREN.get(sys.argv[2], serve)()
    else:
        main(sys.argv[1])
