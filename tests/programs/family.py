"""Starts a child that starts a child, all in this interpreter, and waits until its standard input ends.

Prints "ready" and then the pids of both children.
"""
import subprocess
import sys

WAIT = "import sys; sys.stdin.read()"
PARENT = f"import subprocess, sys; c = subprocess.Popen([sys.executable, '-c', {WAIT!r}]); print(c.pid, flush=True); c.wait()"

child = subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE)
grandchild = int(child.stdout.readline())
print("ready", flush=True)
print(child.pid, grandchild, flush=True)
sys.stdin.read()
child.wait()
