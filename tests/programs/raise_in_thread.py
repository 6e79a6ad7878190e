"""A thread dies of an exception; the process lives on and ends well."""
import threading


def work():
    raise RuntimeError("in a thread")  # MARK: raise


thread = threading.Thread(target=work)
thread.start()
thread.join()
print("still here")
