"""Dies with interesting local variables."""


class Secretive:
    def __repr__(self):
        raise RuntimeError("nobody may call this")


def work(count, name):
    items = [1, 2, 3]
    text = "x" * 1000
    huge = 1 << 100000
    thing = Secretive()
    raise ValueError("look around")  # MARK: raise


work(3, "Ada")
