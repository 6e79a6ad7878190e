"""Two processes that wait for each other's flock(2); with `shared`, a third has one of the locks too."""
import fcntl
import os
import sys

folder, shared = sys.argv[1], "shared" in sys.argv


def take(first, second, ready, other):
    held = open(folder + "/" + first, "w")
    fcntl.flock(held, fcntl.LOCK_EX)
    if shared and not os.fork():
        os.read(0, 1)
        os._exit(0)
    os.write(ready, b"x")
    os.read(other, 1)
    fcntl.flock(open(folder + "/" + second, "w"), fcntl.LOCK_EX)


one, other = os.pipe(), os.pipe()
print("ready", flush=True)
if os.fork():
    take("a", "b", one[1], other[0])
else:
    take("b", "a", other[1], one[0])
