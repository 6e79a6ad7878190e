"""Its own sys.excepthook raises."""
import sys


def report(exc_type, exc, tb):
    raise TypeError("the hook broke")


sys.excepthook = report
raise LookupError("lost")  # MARK: raise
