"""Computes for a moment and rests for a longer one, for ever, each in a function of its own."""
import time


def compute():
    return sum([number * number for number in range(20000)])  # MARK: hottest


def rest():
    time.sleep(0.05)


if __name__ == "__main__":
    print("ready", flush=True)
    while True:
        compute()
        rest()
