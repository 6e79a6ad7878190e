"""Where a frame's code comes from, told by its file: its language, its module, whether it is the application's own."""

from __future__ import annotations

import re

from diag.evidence import LAUNCHER_PATH, LIBRARY_PATH, PROBE_PATH
from diag.profiles.model import Frame

# Where a program or a thread begins: that all of the time is below these says nothing.
ROOTS = frozenset(
    (
        "<module>",
        "main",
        "main.main",
        "_start",
        "(anonymous)",
        "_bootstrap",
        "_bootstrap_inner",
        "_run_code",
        "__main__",
    )
)
_LANGUAGES = {
    **dict.fromkeys((".py", ".pyw", ".pyi"), "python"),
    **dict.fromkeys((".js", ".mjs", ".cjs", ".ts", ".mts", ".tsx", ".jsx"), "javascript"),
    **dict.fromkeys((".c", ".cc", ".cpp", ".cxx", ".h", ".hpp", ".rs", ".s", ".S", ".pyx", ".pxd"), "native"),
    ".go": "go",
}
_MODULE_ROOT = re.compile(r".*(?:/(?:site|dist)-packages/|/lib(?:64|32)?/(?:python|pypy)\d[\d.]*[a-z]?/)")
_NODE_MODULE = re.compile(r".*/node_modules/((?:@[^/]+/)?[^/]+)/")
_GO_PACKAGE = re.compile(r"((?:[^/(]+/)*[^./(]+)\.")
_FROZEN = re.compile(r"<frozen (.+)>")
_SUFFIX = re.compile(r"\.\w{1,4}$")
_GO_LIBRARY = re.compile(r"/(?:go(?:-\d[\d.]*|root)?/src|pkg/mod|vendor)/")


def language(frame: Frame) -> str:
    """`python`, `javascript`, `go` or `native`; empty where nothing tells."""
    if frame.file.startswith("node:"):
        return "javascript"
    if _FROZEN.fullmatch(frame.file) or frame.file in ("<string>", "<stdin>"):
        return "python"
    suffix = _SUFFIX.search(frame.file)
    known = _LANGUAGES.get(suffix[0]) if suffix else None
    return known or ("native" if frame.mapping or frame.address or frame.file == "[kernel]" else "")


def module(frame: Frame) -> str:
    """What the frame is counted under: a package or module, a shared object, or else its file."""
    kind = language(frame)
    if kind == "python":
        return _python_module(frame.file)
    if kind == "go":
        found = _GO_PACKAGE.match(frame.function)
        return found[1] if found else frame.file
    if kind == "javascript":
        package = _NODE_MODULE.match(frame.file)
        return package[1] if package else frame.file
    if frame.mapping is not None and frame.mapping.file:
        return frame.mapping.file.rpartition("/")[2]
    return frame.file or frame.function


def in_app(frame: Frame) -> bool:
    """Whether this looks like the application's own code, as against libraries, runtimes and the kernel."""
    kind, file = language(frame), frame.file
    if kind in ("native", "") or file.startswith(("<", "node:")):
        return False
    if kind == "javascript":
        return "/node_modules/" not in file
    if kind == "go":
        return not _GO_LIBRARY.search(file)
    return not any(path.search(file) for path in (LIBRARY_PATH, LAUNCHER_PATH, PROBE_PATH))


def _python_module(file: str) -> str:
    frozen = _FROZEN.fullmatch(file)
    if frozen:
        return frozen[1]
    root = _MODULE_ROOT.match(file)
    if root is None:
        return file
    name = _SUFFIX.sub("", file[root.end() :]).removesuffix("/__init__")
    return name.replace("/", ".")
