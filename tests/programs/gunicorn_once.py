"""Starts gunicorn with one worker, asks it once, and ends it: gunicorn_once.py LIBRARY PATH TIMEOUT_S terminate|kill|wait

A second request, which is answered well, makes sure that the next worker runs before the master is told to stop.

Prints the answer's status and how the master ended, when all of its workers have gone.
"""
import http.client
import os
import socket
import subprocess
import sys

library, path, timeout_s, then = sys.argv[1:]
listener = socket.socket()
listener.bind(("127.0.0.1", 0))
listener.listen()
alive, kept = os.pipe()
for number in (listener.fileno(), kept):
    os.set_inheritable(number, True)
options = {"workers": "1", "timeout": timeout_s, "graceful-timeout": "20", "bind": "fd://%d" % listener.fileno()}
command = [sys.executable, "-m", "gunicorn", "--no-control-socket", "--chdir", os.path.dirname(os.path.abspath(__file__))]
command += [word for name, value in options.items() for word in ("--" + name, value)]
environment = {**os.environ, "LIBRARY": library, "BOOT": path}
master = subprocess.Popen([*command, "web_dying:application"], close_fds=False, env=environment)
os.close(kept)


def ask(path):
    try:
        connection = http.client.HTTPConnection("127.0.0.1", listener.getsockname()[1], timeout=25)
        connection.request("GET", path, headers={"X-Request-ID": "order-1"})
        print(connection.getresponse().status)
    except (OSError, http.client.HTTPException):
        print("no answer")


ask(path)
if then != "wait":
    ask("/")
    getattr(master, then)()
status = master.wait()
os.read(alive, 1)
print(status)
