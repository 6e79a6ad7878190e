"""Starts the probe, then steps aside for the `sitecustomize` that this interpreter would have found without us."""

import os
import sys


def _start(folder):
    """Install the probe where an agent asks for one; whatever fails, the program starts as it would without us."""
    try:
        if os.environ.get("DIAG_PROBE_SOCKET"):
            import diag_probe

            if not _load_parts(folder + "/diag_probe/", diag_probe):
                from diag_probe import cache

                cache.write(__file__)
            from diag_probe import start

            start.install()
    except Exception:
        pass


def _load_parts(folder, package):
    """Load the start's parts from one file, in a third of the time that as many imports take; whether it was there."""
    from marshal import loads

    try:
        with open(package.cache_file(sys), "rb", 0) as file:
            stamps, codes = loads(file.read())
        found = [os.stat(folder + name + ".py") for name, _ in codes]
    except (OSError, EOFError, ValueError, TypeError):
        return False
    if stamps != [(stat.st_mtime_ns, stat.st_size) for stat in found]:
        return False
    for name, code in codes:
        module = type(sys)("diag_probe." + name)
        module.__package__, module.__file__ = "diag_probe", folder + name + ".py"
        sys.modules[module.__name__] = module
        exec(code, module.__dict__)
        setattr(package, name, module)
    return True


def _step_aside(folder):
    """Leave `sys.path` as it would be without us; PYTHONPATH itself stays, so that children are probed too."""
    sys.path[:] = [entry for entry in sys.path if entry != folder]
    for entry in (folder, folder + "/diag_probe"):
        sys.path_importer_cache.pop(entry, None)
    sys.modules.pop("sitecustomize", None)


_start(__file__.rpartition("/")[0])
_step_aside(__file__.rpartition("/")[0])

# importlib's module lock is re-entrant, so this finds the next one on the path, runs it in our place and leaves it in
# sys.modules; where there is none it raises the ImportError that `site` expects to see.
import sitecustomize  # noqa: E402, F401, PLW0406
