"""Two finalisers raise: one while the program runs, one while the interpreter goes away."""


class Fragile:
    def __init__(self, name):
        self.name = name

    def __del__(self):
        raise RuntimeError(self.name)  # MARK: raise


early = Fragile("early")
del early
late = Fragile("late")
