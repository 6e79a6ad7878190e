"""A child of multiprocessing dies of an exception; the parent says how it ended."""
import multiprocessing
import sys


def work():
    raise RuntimeError("in a child")  # MARK: raise


if __name__ == "__main__":
    process = multiprocessing.get_context(sys.argv[1]).Process(target=work, name="worker")
    process.start()
    process.join()
    print(process.exitcode)
