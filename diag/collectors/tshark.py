"""tshark, where it is installed: it names the protocols in a capture file that we do not decode.

Dissectors read what strangers sent, so they do not run as root, and get the file as an open descriptor.
"""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

from diag.collectors import external
from diag.errors import ToolFailed

LARGEST_BYTES = 32 << 20  # 10 s for 216,000 packets: somebody waits
TIMEOUT_S = 30.0
MOST_LAYERS = 60
_LAYER = re.compile(r"( *)([\w.-]+) +frames:(\d+) +bytes:(\d+)")
_AS_NOBODY = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--no-new-privs", "--")


def layers(path: Path) -> list[dict[str, int | str]] | None:
    """Which protocols it sees, outermost first: `{"name", "depth", "packets", "bytes"}`.

    None where tshark is not installed, or the file is too large for it. Raises ToolFailed.
    """
    tshark = shutil.which("tshark")
    if tshark is None or path.stat().st_size > LARGEST_BYTES:
        return None
    command = [tshark, "-n", "-r", "-", "-q", "-z", "io,phs"]
    if os.geteuid() == 0:
        command = [*_AS_NOBODY, *command]
    with path.open("rb") as file:
        ran = external.run(command, timeout_s=TIMEOUT_S, environment={"HOME": "/nonexistent"}, stdin=file.fileno())
    if ran.status != 0:
        raise ToolFailed(f"tshark read nothing: {ran.stderr or 'it took too long'}")
    found = _LAYER.findall(ran.stdout.decode("utf-8", "replace"))[:MOST_LAYERS]
    return [
        {"name": name, "depth": len(indent) // 2, "packets": int(packets), "bytes": int(size)}
        for indent, name, packets, size in found
    ]
