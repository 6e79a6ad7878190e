"""Calls two functions in turn, for ever, each the only caller of its own: a stack that mixes them was never there."""
import threading
import time


def left_leaf(count):
    total = 0
    for number in range(count):
        total += number * number  # MARK: hottest
    return total


def right_leaf(count):
    return sum([number for number in range(count // 10)])


def left(count):
    return left_leaf(count)


def right(count):
    return right_leaf(count)


def alternate():
    while True:
        left(2000)
        right(2000)


if __name__ == "__main__":
    threading.Thread(target=time.sleep, args=(10**6,), name="sleeper", daemon=True).start()
    print("ready", flush=True)
    alternate()
