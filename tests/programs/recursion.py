"""Dies of a RecursionError."""


def down(depth):
    return down(depth + 1)  # MARK: recursion


down(0)
