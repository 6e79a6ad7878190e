"""A fork leaves by os._exit; the parent looks at what it is about to use, and leaves by sys.exit in a function."""
import os
import pickle
import sys

if os.fork() == 0:
    os._exit(status=9)
os.wait()


class Application:
    leave_at_once, leave_later = os._exit, sys.exit


for call in (sys.exit, os._exit, os.execv, os.execve, os.kill):
    print(call, call.__module__, call.__name__, pickle.loads(pickle.dumps(call)) is call)
try:
    Application().leave_later(3)
except SystemExit as left:
    print(left.code)
try:
    os.execv("/nonexistent", ["nonexistent"])
except OSError as error:
    print(error)
try:
    sys.exit(1, 2)
except TypeError as error:
    print(error)


def leave():
    sys.exit("nothing to do")  # MARK: leave


leave()  # MARK: module
