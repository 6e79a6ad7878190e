"""Replaces sys.excepthook and does not chain."""
import sys


def report(exc_type, exc, tb):
    print("my own report:", exc)


sys.excepthook = report


def work():
    raise LookupError("lost")  # MARK: raise


work()
