"""Computes on two threads, the main one below a function that calls itself, and ends: for profilers to look at."""

import threading

DEPTH, ROUNDS = 5, 200


def inner():
    return sum([number * number for number in range(30000)])  # MARK: inner


def work():
    for _ in range(ROUNDS):
        inner()


def dig(depth):
    return dig(depth - 1) if depth else work()


if __name__ == "__main__":
    worker = threading.Thread(target=work, name="worker")
    worker.start()
    dig(DEPTH)
    worker.join()
