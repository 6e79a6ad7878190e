"""Dies of a real fault while faulthandler writes to a socket that nobody reads: it stands still in the handler.

usage: frozen_crash.py SOCKET KIND LIBRARY [thread]
"""
import ctypes
import faulthandler
import os
import signal
import socket
import struct
import sys
import threading

path, kind, library = sys.argv[1:4]
link = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
link.connect(path)
link.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
link.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", 30, 0))
faulthandler.enable(file=link.fileno(), all_threads=True)


def crash(kind):
    if kind == "string_at":
        ctypes.string_at(0)
    elif kind == "sent":
        os.kill(os.getpid(), signal.SIGSEGV)
    elif kind == "abort":
        os.abort()
    else:
        fault = getattr(ctypes.CDLL(library), kind)
        fault()  # MARK: fault


if sys.argv[4:] == ["thread"]:
    doomed = threading.Thread(target=crash, args=(kind,), name="doomed")
    doomed.start()
    doomed.join()  # MARK: join
else:
    crash(kind)
