"""Calls two functions in turn, for ever: its stack is never the same for long."""


def even(number):
    return sum(range(number))


def odd(number):
    return sorted(range(number))


print("ready", flush=True)
while True:
    even(20000)
    odd(20000)
