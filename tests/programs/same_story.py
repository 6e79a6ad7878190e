"""Dies in one place, reached through a closure, a lambda, a comprehension and a generator: same_story.py WAY."""
import ctypes
import sys


class Orders:
    def total(self, items):
        return sum(self.price(item) for item in items)

    def price(self, item):
        if sys.argv[1] == "fault":
            return ctypes.string_at(8)
        return {}[item]


def through(step):
    def inner(items):
        return [(lambda one: step([one]))(item) for item in items]

    return inner


through(Orders().total)(["cup"])
