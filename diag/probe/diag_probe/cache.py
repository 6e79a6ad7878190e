"""Keeps the probe compiled, also where PYTHONDONTWRITEBYTECODE says not to: compiling it at every start would cost
more than everything else it does. The variable is about the program's files; these are our own."""

import os
import sys
from marshal import dumps

import diag_probe

# In the order of their imports: each finds those before it in sys.modules.
START_PARTS = (
    *("layout", "link", "heap", "blackbox", "record", "session"),
    *("fault", "hooks", "exits", "questions", "watch", "start"),
)
LATER_PARTS = (
    *("requests", "wsgi", "asgi", "servers", "frameworks", "processes", "tasks", "spans"),
    *("answering", "census", "tracing", "tracker"),
    *("holding", "event_loops", "waits"),
)


def write(site_file):
    """Compile every part into `__pycache__`, the start's parts into one file; nothing where the folder is read-only."""
    folder = diag_probe.__path__[0]
    if not os.access(folder, os.W_OK):
        return
    kept, sys.dont_write_bytecode = sys.dont_write_bytecode, False
    try:
        _compile("sitecustomize", site_file)
        _compile("diag_probe", diag_probe.__file__)
        for name in LATER_PARTS:
            _compile("diag_probe." + name, "%s/%s.py" % (folder, name))
        _write_start_parts(folder, diag_probe.cache_file(sys))
    except OSError:
        pass  # full, or somebody else is writing: the next start tries again
    finally:
        sys.dont_write_bytecode = kept


def _compile(name, path):
    """The module's code; importlib writes its cache file on the way."""
    return type(diag_probe.__loader__)(name, path).get_code(name)


def _write_start_parts(folder, path):
    found = [os.stat("%s/%s.py" % (folder, name)) for name in START_PARTS]
    codes = [(name, _compile("diag_probe." + name, "%s/%s.py" % (folder, name))) for name in START_PARTS]
    content = dumps(([(stat.st_mtime_ns, stat.st_size) for stat in found], codes))
    temporary = "%s.%d" % (path, os.getpid())
    with open(temporary, "xb", 0) as file:
        file.write(content)
    os.replace(temporary, path)
