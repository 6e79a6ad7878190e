"""C++ and Rust names made readable by binutils' c++filt, where it is installed."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterable

_LONGEST = 4096
_MOST = 5000
_TIMEOUT_S = 10


def demangle(names: Iterable[str]) -> dict[str, str]:
    """Readable names for the mangled ones among these; what cannot be demangled is absent."""
    mangled = [name for name in dict.fromkeys(names) if _is_mangled(name)][:_MOST]
    tool = shutil.which("c++filt") if mangled else None
    if tool is None:
        return {}
    try:
        answer = subprocess.run(
            [tool], input="\n".join(mangled), capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired, UnicodeError):
        return {}
    lines = answer.stdout.splitlines()
    if len(lines) != len(mangled):
        return {}
    return {before: after for before, after in zip(mangled, lines, strict=True) if before != after}


def _is_mangled(name: str) -> bool:
    return name.startswith(("_Z", "_R")) and len(name) <= _LONGEST and name.isprintable() and " " not in name
