"""Dies of an exception whose every part is against being looked at, in a chain that goes round."""


class Hostile(Exception):
    __module__ = 7

    def __str__(self):
        raise RuntimeError("no")

    def __repr__(self):
        raise RuntimeError("no")


first, second = Hostile("a"), Hostile("b")
first.__cause__, second.__cause__ = second, first
first.__notes__ = "not a list"
raise first  # MARK: raise
