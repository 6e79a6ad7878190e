"""Names itself like a line of /proc/<pid>/stat, and waits until its standard input ends."""
import ctypes
import sys

PR_SET_NAME = 15
ctypes.CDLL(None).prctl(PR_SET_NAME, b"x) Z 1\n(\x1b[2J", 0, 0, 0)
print("ready", flush=True)
sys.stdin.read()
