"""Disks that lose power, fill up and become read-only: small ext4 and tmpfs file systems, mounted for one trial.

The campaign runs in a mount namespace of its own, so the kernel releases every mount and loop device when it ends,
however it ends.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import struct
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

INSIDE = "DURABILITY_INSIDE"  # set where the campaign has its own mount namespace
SIZE = 24 * 1024 * 1024
# Commits that nobody asked for would hide a missing fsync; the second makes a rename no barrier for the file's data.
OPTIONS = ("commit=900", "commit=900,noauto_da_alloc", "commit=900,data=writeback,noauto_da_alloc")

# include/uapi/linux/ext4.h: EXT4_IOC_SHUTDOWN is _IOR('X', 125, __u32), EXT4_GOING_FLAGS_NOLOGFLUSH is 2.
_SHUTDOWN = 2 << 30 | 4 << 16 | ord("X") << 8 | 125
_NO_LOG_FLUSH = 2


def image(path: Path, size: int = SIZE) -> Path:
    """A file with an empty ext4 in it."""
    with path.open("wb") as file:
        file.truncate(size)
    _run("mkfs.ext4", "-q", "-F", "-J", "size=4", str(path))
    return path


class Disk:
    """An ext4 in a file, mounted through a loop device at `at`."""

    def __init__(self, file: Path, at: Path, options: str) -> None:
        self._file, self.at, self._options = file, at, options
        at.mkdir(exist_ok=True)
        self._mount()

    def cut_power(self) -> None:
        """What was not handed to the device by now never will be: the journal is not written out, the cache is gone.

        ext4's own shutdown, as xfstests uses it: it holds at one instant, in the middle of whatever call is running.
        """
        descriptor = os.open(self.at, os.O_RDONLY)
        try:
            fcntl.ioctl(descriptor, _SHUTDOWN, struct.pack("I", _NO_LOG_FLUSH))
        finally:
            os.close(descriptor)

    def copy(self, to: Path) -> Path:
        """The device's bytes as they are now, without what only the cache holds. Its writers must stand still."""
        _run("cp", "--sparse=always", str(self._file), str(to))
        return to

    def power_on(self, file: Path | None = None) -> None:
        """Mount again, which replays the journal; `file` takes the place of the disk."""
        self.close()
        self._file = file or self._file
        self._mount()

    def remount(self, option: str) -> None:
        """`ro` or `rw`."""
        _run("mount", "-o", f"remount,{option}", str(self.at))

    def close(self) -> None:
        """Unmount it; the loop device goes with it."""
        if os.path.ismount(self.at):
            unmount(self.at)

    def _mount(self) -> None:
        _run("mount", "-t", "ext4", "-o", f"loop,{self._options}", str(self._file), str(self.at))


@contextmanager
def disk(template: Path, folder: Path, options: str) -> Iterator[Disk]:
    """A fresh disk, mounted at `folder/disk`."""
    file = folder / "disk.img"
    _run("cp", "--sparse=always", str(template), str(file))
    one = Disk(file, folder / "disk", options)
    try:
        yield one
    finally:
        one.close()
        file.unlink()


@contextmanager
def memory(at: Path, options: str) -> Iterator[Path]:
    """A tmpfs: `size=…` and `nr_inodes=…` bound it."""
    at.mkdir(exist_ok=True)
    _run("mount", "-t", "tmpfs", "-o", options, "none", str(at))
    try:
        yield at
    finally:
        unmount(at)


def fill(folder: Path, leaving: int = 0) -> Path:
    """Take what is free, but for so many bytes; returns the file that has it."""
    path = folder / "somebody-elses-file"
    with path.open("wb", buffering=0) as file:
        try:
            while True:
                left = free(folder) - leaving
                if left <= 0:
                    break
                file.write(b"x" * min(left, 1024 * 1024))
        except OSError:
            pass  # that is the end of it
        os.fsync(file.fileno())
    return path


def free(folder: Path) -> int:
    """The bytes that are free."""
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize


def unmount(at: Path) -> None:
    """Unmount; whoever was killed a moment ago may still hold it."""
    for _ in range(200):
        if subprocess.run(["umount", str(at)], stderr=subprocess.DEVNULL, check=False).returncode == 0:
            return
        time.sleep(0.01)
    _run("umount", "--lazy", str(at))


def missing() -> str:
    """Why nothing can be mounted here; empty where it can."""
    if INSIDE not in os.environ:
        return "mounting needs root, and CAP_SYS_ADMIN in a container"
    lacking = [name for name in ("mkfs.ext4", "mount", "umount") if not shutil.which(name)]
    return f"{', '.join(lacking)} not found" if lacking else ""


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}: {done.stderr.strip()} {done.stdout}")
