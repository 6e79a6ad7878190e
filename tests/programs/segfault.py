"""Reads address zero in C while a second thread waits."""
import ctypes
import threading


def crash():
    ctypes.string_at(0)  # MARK: crash


if __name__ == "__main__":
    threading.Thread(target=threading.Event().wait, name="waiter", daemon=True).start()
    crash()
