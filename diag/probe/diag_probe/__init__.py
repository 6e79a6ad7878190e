"""The probe: standard library only, Python 3.8+, no thread, no lock, no log."""


def cache_file(sys):
    """Where the parts that every start needs are kept compiled, for this interpreter's kind."""
    return "%s/__pycache__/start.%s.parts" % (__path__[0], sys.implementation.cache_tag)
