"""Calls two functions in turn, each the only caller of its own, and counts in a mapped file how often."""

import mmap
import os
from pathlib import Path


def left_leaf(count):
    total = 0
    for number in range(count):
        total += number
    return total


def right_leaf(count):
    total = 0
    for number in range(count):
        total -= number
    return total


def left(count):
    return left_leaf(count)


def right(count):
    return right_leaf(count)


def main():
    path = Path(os.environ["HOME"]) / "rounds"
    path.write_bytes(b"0".rjust(20))
    with path.open("r+b") as file:
        counter = mmap.mmap(file.fileno(), 20)
    print("ready", flush=True)
    rounds = 0
    while True:
        for _ in range(50):
            left(200)
            right(200)
        rounds += 50
        counter[:] = b"%20d" % rounds


main()
