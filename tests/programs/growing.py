"""Keeps more and more: `Order`s with a line each, made in `load`, and a cache of the module; answers nobody."""
import time

CACHE = {}


class Order:
    def __init__(self, number):
        self.number = number
        self.line = "line of order %d" % number


def load(number):
    CACHE[number] = Order(number)  # MARK: kept


def turn():
    for number in range(len(CACHE), len(CACHE) + 200):
        load(number)
    waste = [bytearray(1000) for _ in range(100)]
    return len(waste)


if __name__ == "__main__":
    turn()
    print("ready", flush=True)
    while True:
        turn()
        time.sleep(0.01)
