"""Keeps ever more orders, slowly near the limit of the memory group in that folder; or up to a share of it, and waits."""
import sys
import time
from pathlib import Path


class Order:
    def __init__(self, number):
        self.text = "line of order %d\n" % number * 1000


def share_in_use(group):
    names = "memory.usage_in_bytes", "memory.limit_in_bytes"
    used, limit = (int((group / name).read_text()) for name in names)
    return used / limit


def hoard(group, until):
    orders = []
    while share_in_use(group) < until:
        orders += [Order(number) for number in range(30)]
        if share_in_use(group) > 0.85:
            time.sleep(0.2)
    return orders


kept = hoard(Path(sys.argv[1]), float(sys.argv[2]))
print("ready", flush=True)
sys.stdin.read()
