"""Where instances join an agent: one folder, which can be mounted into containers.

    s        the door, where probes connect
    bb/      where they make their black boxes; the agent takes each to its instance's own folder
    hooks    the hooks of a platform that freezes and stops
    probe/   what the instances have on PYTHONPATH
    lock     held by the agent that serves here

Where the agent is root everybody may join: whoever may connect may make files in `bb`, and nobody may list it or touch
another's. Otherwise only the agent's own user may.
"""

from __future__ import annotations

import fcntl
import os
import re
import shlex
import shutil
import socket
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from diag.agent import identity
from diag.agent.blackbox import Box
from diag.agent.recover import boxes_in, recover_box, whose
from diag.agent.registry import Target
from diag.config import Settings
from diag.errors import CannotAttach, DiagError, UsageError
from diag.probe import FOLDER as PROBE
from diag.probe.diag_probe import layout

FOLDER, SOCKET_NAME = "agent", "s"
_MAPPED = re.compile(rf"/([^/\n]+{re.escape(layout.BOX_SUFFIX)})$", re.MULTILINE)
LOCK, PROBE_COPY, PROBE_PARTS = "lock", "probe", "diag_probe"


class AlreadyServed(DiagError):
    """Another agent serves at this place."""

    help_text = "One agent watches any number of instances; for a second one say another --socket."


@dataclass(frozen=True, slots=True)
class Modes:
    """Of the folder itself, of `bb`, and of the sockets."""

    folder: int
    boxes: int
    sockets: int


FOR_ALL = Modes(0o755, 0o1733, 0o666)
FOR_ONE = Modes(0o700, 0o700, 0o600)


def socket_of(settings: Settings, named: str | None) -> Path:
    """Where the door is: as the user names it, or in the run folder."""
    return Path(named).absolute() if named else settings.run_dir / FOLDER / SOCKET_NAME


def modes() -> Modes:
    """Who may join."""
    return FOR_ALL if os.geteuid() == 0 else FOR_ONE


def variables(path: Path) -> str:
    """What a shell has to evaluate so that the Pythons it starts join at this socket."""
    probe = shlex.quote(str(path.parent / PROBE_COPY))
    return (
        f'export PYTHONPATH={probe}"${{PYTHONPATH:+:$PYTHONPATH}}"\nexport {layout.ENV_SOCKET}={shlex.quote(str(path))}'
    )


class Meeting:
    """The place, held by us until `close`. Raises AlreadyServed, CannotAttach, UsageError."""

    def __init__(self, path: Path, run_dir: Path) -> None:
        self.path, self.folder = path, path.parent
        self._since = time.time()
        wanted = modes()
        try:
            _make(run_dir, wanted.folder & 0o711)
            _make(self.folder, wanted.folder)
            self._lock = _lock(self.folder)
            _make(self.folder / layout.BOX_FOLDER, wanted.boxes)
            _check_moves(self.folder / layout.BOX_FOLDER, run_dir)
            _copy_probe(self.folder / PROBE_COPY)
            self.listener = _listen(path, wanted.sockets)
        except PermissionError as error:
            raise CannotAttach(
                f"{error.filename or path}: {error.strerror}.",
                "Say a --socket in a folder that is yours, and DIAG_RUN_DIR on the same file system.",
            ) from error
        except OSError as error:
            raise UsageError(
                f"No agent can serve at {path}: {error.strerror or error}.",
                "Say another --socket; its path may have 107 bytes.",
            ) from error

    def sweep(self, settings: Settings) -> None:
        """Record who has died, and was not heard by the last agent before that was killed."""
        left = [path for path in boxes_in(self.folder) if path.stat().st_mtime < self._since]
        mapped = _mapped_boxes() if left else set()
        for path in left:
            box = Box.open(path)
            if path.name not in mapped:
                nameless = Target(whose(path)[0], 0, "", settings.service, "")
                target = identity.named_by(identity.owned(settings, nameless), box.header() if box else {})
                recover_box(path, target, settings)

    def close(self) -> None:
        """Nobody can join any more; the folder stays, because containers have it mounted."""
        with suppress(OSError):
            self.path.unlink()
        os.close(self._lock)


def _mapped_boxes() -> set[str]:
    """The names of black boxes that a living process has: a pid in a name may be one of another pid namespace."""
    found: set[str] = set()
    for maps in Path("/proc").glob("[0-9]*/maps"):
        with suppress(OSError):
            found.update(_MAPPED.findall(maps.read_text(errors="replace")))
    return found


def _make(folder: Path, mode: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    if folder.stat().st_uid != os.geteuid():
        raise PermissionError(1, "it belongs to another user", str(folder))
    folder.chmod(mode)


def _lock(folder: Path) -> int:
    descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise AlreadyServed(f"An agent serves at {folder} already.") from None
    return descriptor


def _check_moves(boxes: Path, run_dir: Path) -> None:
    """A black box is a mapped file: it can be taken to its instance's folder by a rename alone."""
    here, there = boxes / f".{os.getpid()}", run_dir / f".{os.getpid()}"
    here.touch(0o600)
    try:
        here.rename(there)
    finally:
        for path in (here, there):
            path.unlink(missing_ok=True)


def _copy_probe(folder: Path) -> None:
    """Ours may stand where a container does not see it, or be newer than the last agent's."""
    _make(folder, 0o755)
    _make(folder / PROBE_PARTS, 0o755)
    for source in (PROBE / "sitecustomize.py", *sorted((PROBE / PROBE_PARTS).glob("*.py"))):
        target = folder / source.relative_to(PROBE)
        part = target.with_name(f".{target.name}.{os.getpid()}")
        shutil.copy2(source, part)
        part.chmod(0o644)
        part.rename(target)


def _listen(path: Path, mode: int) -> socket.socket:
    path.unlink(missing_ok=True)  # of an agent that was killed: we hold the lock
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        listener.bind(str(path))
        path.chmod(mode)
        listener.listen(4096)
    except OSError:
        listener.close()
        raise
    return listener
