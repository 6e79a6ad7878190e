"""Dies of an exception that came from another one, while a second thread waits."""
import threading


class Trouble(Exception):
    pass


def inner(number):
    raise ValueError("number %d" % number)  # MARK: cause


def outer():
    try:
        inner(7)
    except ValueError as exc:
        raise Trouble("it broke") from exc  # MARK: raise


def wait():
    threading.Event().wait()  # MARK: waiting


threading.Thread(target=wait, name="waiter", daemon=True).start()
outer()  # MARK: module
