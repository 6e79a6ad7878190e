"""The uploader as a process of its own: the agent stays small, and what waits is sent whoever has ended.

One for a spool: it is born with the lock that says so, drains, looks for more, and ends when nothing has come for a
while. `python -m diag.upload.background LOCK`, LOCK being the number of that descriptor.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

from diag.config import Settings, load
from diag.errors import DiagError, SpoolUnwritable, StoreRefused
from diag.spool import Spool, spools
from diag.spool.files import read_plain
from diag.upload import status

LOCK = "uploader.lock"
LOOK_S, LOOKS = 1.0, 5  # how often it looks for more, and how often in vain before it ends
NOTICE_S = 5.0  # how soon it notices new credentials
NICE = 5
_SECRETS = ("AWS_", "OSS_", "ALIBABA_CLOUD_")


def ensure(settings: Settings) -> None:
    """Make sure that a process sends what waits in the spool. Where none can be started, it waits for the next diag."""
    root = status.place(spools(settings))
    if root is None:
        return
    with suppress(OSError):
        lock = _take_lock(root)
        if lock is None and _is_stuck(settings, root):
            lock = _replace(root)
        if lock is not None:
            try:
                _start(settings, lock)
            finally:
                os.close(lock)


def _start(settings: Settings, lock: int) -> None:
    environment = {
        **os.environ,
        "DIAG_STORE": settings.store_url,
        "DIAG_SPOOL": str(settings.spool_dir),
        "DIAG_SPOOL_SECOND": str(settings.spool_second_dir),
    }
    if os.environ.get("DIAG_CONFIG"):
        environment["DIAG_CONFIG"] = str(Path(os.environ["DIAG_CONFIG"]).absolute())
    process = subprocess.Popen(
        [sys.executable, "-m", __name__, str(lock)],
        env=environment,
        cwd="/",  # it must not hold the instance's folder
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        pass_fds=(lock,),
        start_new_session=True,
    )
    process.returncode = 0  # the agent's loop reaps every child that it has; this object is not to wait for one
    os.ftruncate(lock, 0)
    os.pwrite(lock, f"{process.pid} {_fingerprint(settings, os.environ)}\n".encode(), 0)


def _take_lock(root: Path) -> int | None:
    """The descriptor that makes its holder the spool's uploader, or None where there is one."""
    descriptor = os.open(root / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def _is_stuck(settings: Settings, root: Path) -> bool:
    """Whether the uploader that there is gets nowhere, and we have another store or other credentials than it has."""
    told = status.read(root)
    return bool(told and told.trouble) and _holder(root)[1] != _fingerprint(settings, os.environ)


def _replace(root: Path) -> int | None:
    """End the uploader that there is; returns its lock, or None where it does not let go."""
    pid, _ = _holder(root)
    # The number may be of another pid namespace, where it means somebody else.
    if __name__.encode() not in Path(f"/proc/{pid}/cmdline").read_bytes():
        return None
    os.kill(pid, signal.SIGTERM)
    for _ in range(20):
        if (lock := _take_lock(root)) is not None:
            return lock
        time.sleep(0.01)
    return None


def _holder(root: Path) -> tuple[int, str]:
    pid, _, fingerprint = read_plain(root / LOCK).decode("ascii").strip().partition(" ")
    return int(pid) if pid.isdecimal() else 0, fingerprint


def _fingerprint(settings: Settings, environ: os._Environ[str]) -> str:
    """What tells two sets of credentials apart, and nothing about them."""
    said = [f"{name}={value}" for name, value in sorted(environ.items()) if name.startswith(_SECRETS)]
    return hashlib.sha256("\n".join([settings.store_url, settings.token, *said]).encode()).hexdigest()[:16]


def main() -> int:
    """Send until nothing has come for a while; returns the exit code."""
    # The agent blocks every signal, and a child inherits that.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGTERM, signal.SIGINT, signal.SIGHUP))
    with suppress(OSError):
        os.nice(NICE)
    lock: int | None = int(sys.argv[1])
    while lock is not None:
        written = _written()  # before they are read: a file that is corrected at any moment since is noticed
        settings = load()
        _work(settings, written)
        os.close(lock)
        # Whoever brought a capture before this saw the lock and went away; whoever does now finds it free.
        root = status.place(spools(settings))
        lock = _take_lock(root) if root is not None and waits(settings) else None
    return 0


def _work(settings: Settings, written: list[float]) -> None:
    """Send what waits, again until it works, until nothing comes any more."""
    from diag.upload import accounts
    from diag.upload.pace import Pace
    from diag.upload.stores import open_store
    from diag.upload.uploader import drain_all, pause_s

    attempt, idle, pace, store = 0, 0, Pace.of(settings), None
    known = spools(settings)
    while idle < LOOKS and (root := status.place(known)) is not None:
        if not waits(settings):  # also after trouble: somebody else may have sent it
            idle += 1
            time.sleep(LOOK_S)
            continue
        trouble: DiagError | None
        try:
            store = store or open_store(settings.store_url, settings.token, pace)
            trouble = drain_all(known, store, settings.tenant, deadline=None).trouble
            for spool in known:
                accounts.tell(spool, store, settings.tenant, trouble)
        except DiagError as error:
            trouble = error
        except Exception as error:  # noqa: BLE001 - a defect of ours is said and tried again: what waits is not lost
            trouble = DiagError(f"a defect of diag: {type(error).__name__}: {error}")
        attempt, idle = attempt + 1 if trouble else 0, 0
        wait_s = pause_s(attempt, trouble) if trouble else LOOK_S
        ahead_s = store.clock_ahead_s if store else 0.0
        status.note(root, trouble, pause_s=wait_s, clock_ahead_s=ahead_s)
        if isinstance(trouble, StoreRefused):
            _wait_for_credentials(written, wait_s)
            written, store = _written(), None
            with suppress(DiagError):
                settings = load()
        else:
            time.sleep(wait_s)
    for spool in known:
        if store is not None:
            accounts.tell(spool, store, settings.tenant, last=True)


def _wait_for_credentials(before: list[float], limit_s: float) -> None:
    """Wait, not longer than until the files that credentials stand in are others than `before`."""
    until = time.monotonic() + limit_s
    while time.monotonic() < until and _written() == before:
        time.sleep(min(NOTICE_S, max(0.0, until - time.monotonic())))


def _written() -> list[float]:
    """When each file that may hold credentials was written last."""
    home, config = os.environ.get("HOME", ""), os.environ.get("XDG_CONFIG_HOME")
    places = [
        os.environ.get("DIAG_CONFIG") or f"{config or f'{home}/.config'}/diag/config.toml",
        os.environ.get("AWS_SHARED_CREDENTIALS_FILE") or f"{home}/.aws/credentials",
        os.environ.get("AWS_CONFIG_FILE") or f"{home}/.aws/config",
    ]
    written = []
    for place in places:
        try:
            written.append(Path(place).stat().st_mtime)
        except OSError:
            written.append(0.0)
    return written


def waits(settings: Settings) -> bool:
    """Whether anything is to be sent."""
    return any(map(_has_pending, spools(settings)))


def _has_pending(spool: Spool) -> bool:
    try:
        return any(True for _ in spool.pending())
    except SpoolUnwritable:
        return False


if __name__ == "__main__":
    sys.exit(main())
