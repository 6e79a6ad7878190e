"""Keeps ever more orders in a dictionary of its module, and answers to each line with what that expression gives."""
import os
import select
import sys

CACHE = {}


class Order:
    def __init__(self, number):
        self.line = "line of order %d" % number


def load(number):
    CACHE[number] = Order(number), bytearray(2000)  # MARK: kept


def turn():
    for number in range(len(CACHE), len(CACHE) + 20):
        load(number)


def told_by_a_child(expression):
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.write(writer, str(eval(expression)).encode())
        os._exit(0)
    os.waitpid(pid, 0)
    return os.read(reader, 1000).decode()


if __name__ == "__main__":
    turn()
    print("ready", flush=True)
    while True:
        turn()
        if select.select([0], [], [], 0.01)[0]:
            line = sys.stdin.readline()
            if not line:
                break
            print(eval(line), flush=True)
