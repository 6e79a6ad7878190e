"""Children by multiprocessing in every way, and by subprocess; each says what it is."""
import multiprocessing
import os
import subprocess
import sys


def work(number):
    return number * number


if __name__ == "__main__":
    for method in ("fork", "spawn", "forkserver"):
        context = multiprocessing.get_context(method)
        with context.Pool(2) as pool:
            print(method, pool.map(work, range(4)), flush=True)
    print(subprocess.check_output([sys.executable, "-c", "import sys; print(sys.argv)"]))
    print(subprocess.call([sys.executable, "-c", "1/0"], preexec_fn=os.setsid))
