"""Commands on a terminal, for tests of what a person sees."""

from __future__ import annotations

import os
import pty
import select
import sys

from machine import TIMEOUT_S


def on_terminal(*arguments: str, columns: int = 80, **environ: str) -> str:
    """What `diag` prints on a terminal of this width."""
    shell = f"stty cols {columns}; exec {sys.executable} -m diag {' '.join(arguments)}"
    pid, terminal = pty.fork()
    if pid == 0:
        os.execve("/bin/sh", ["sh", "-c", shell], {**os.environ, "TERM": "xterm", **environ})
    said = b""
    while select.select([terminal], [], [], TIMEOUT_S)[0]:
        try:
            said += os.read(terminal, 65536)
        except OSError:  # Linux says EIO when the last writer is gone
            break
    os.close(terminal)
    os.waitpid(pid, 0)
    return said.decode()
