"""Starts the probe, then steps aside for the `sitecustomize` that this interpreter would have found without us."""

import os
import sys


def _step_aside(folder):
    """Leave `sys.path` as it would be without us; PYTHONPATH itself stays, so that children are probed too."""
    sys.path[:] = [entry for entry in sys.path if entry != folder]
    sys.path_importer_cache.pop(folder, None)
    sys.modules.pop("sitecustomize", None)


def _start(folder):
    try:
        if os.environ.get("DIAG_PROBE_SOCKET"):
            from diag_probe import start

            start.install()
    except Exception:  # the program starts as it would without us
        pass
    finally:
        _step_aside(folder)


_start(__file__.rpartition("/")[0])

# importlib's module lock is re-entrant, so this finds the next one on the path, runs it in our place and leaves it in
# sys.modules; where there is none it raises the ImportError that `site` expects to see.
import sitecustomize  # noqa: E402, F401, PLW0406
