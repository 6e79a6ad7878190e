"""Waits in two threads until its standard input ends, then leaves with status 7."""
import sys
import threading


def nap(event):
    secret = "in a local"
    event.wait()  # MARK: nap


def serve():
    amount = 41
    sys.stdin.read()  # MARK: read


awake = threading.Event()
napper = threading.Thread(target=nap, args=(awake,), name="napper")
napper.start()
print("ready", flush=True)
serve()  # MARK: serve
awake.set()
napper.join()
print("done", flush=True)
sys.exit(7)
