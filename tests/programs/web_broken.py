"""An application that cannot be loaded."""


def load():
    raise LookupError("no settings")  # MARK: raise


load()
