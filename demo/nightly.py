"""The shop's nightly import: it keeps every order in memory, and one night there are too many."""

from __future__ import annotations

import sys


class Order:
    """One order, with its text."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.text = f"order {number} " * 40


def import_orders() -> list[Order]:
    """All orders of the day, which do not come to an end."""
    orders: list[Order] = []
    while True:
        orders.append(Order(len(orders)))


if __name__ == "__main__":
    sys.exit(len(import_orders()))
