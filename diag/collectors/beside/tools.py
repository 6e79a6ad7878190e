"""A root folder with this machine's programs and none of its other files, for instances without programs of their own.

The command has the instance's user and stands in its pid namespace, so whoever runs there can look through
/proc/PID/root at what the command sees. It must not be this machine's whole file system.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from diag.collectors.beside import kernel

PROGRAMS = ("bin", "sbin", "lib", "lib32", "lib64", "libx32", "usr")
SETTINGS = ("services", "protocols", "ld.so.cache", "nsswitch.conf", "hosts", "bash.bashrc")
SETTING_FOLDERS = ("alternatives", "terminfo", "ld.so.conf.d")
DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
LINKS = {"fd": "/proc/self/fd", "stdin": "/proc/self/fd/0", "stdout": "/proc/self/fd/1", "stderr": "/proc/self/fd/2"}
FILE_BYTES = 1 << 20
BUILT_AT = "/tmp"


def move_in(inside_pid: int) -> None:
    """Make and enter it, in a mount namespace of its own; /proc shows the pid namespace of the caller. Raises OSError.

    /instance leads to the files of the process that has this pid in there.
    """
    kernel.unshare(kernel.NEWNS)
    kernel.mount("none", "/", None, kernel.MS_REC | kernel.MS_PRIVATE)
    kernel.mount("tmpfs", BUILT_AT, "tmpfs", kernel.MS_NOSUID, "mode=755,size=64m")
    os.umask(0o022)
    os.chdir(BUILT_AT)
    for name in PROGRAMS:
        _show(Path("/", name), Path(name))
    Path("etc").mkdir()
    for name in SETTINGS:
        _copy(Path("/etc", name), Path("etc", name))
    for name in SETTING_FOLDERS:
        _show(Path("/etc", name), Path("etc", name))
    _devices()
    for name, mode in (("proc", 0o555), ("tmp", 0o1777), ("root", 0o700)):
        Path(name).mkdir()
        Path(name).chmod(mode)
    kernel.mount("proc", "proc", "proc", kernel.MS_NOSUID | kernel.MS_NODEV | kernel.MS_NOEXEC)
    Path("instance").symlink_to(f"/proc/{inside_pid}/root")
    kernel.pivot_here()


def _show(source: Path, target: Path) -> None:
    """The same folder, to read only; a link stays a link."""
    if source.is_symlink():
        target.symlink_to(source.readlink())
    elif source.is_dir():
        target.mkdir()
        kernel.mount(str(source), str(target), None, kernel.MS_BIND)
        limits = kernel.MS_RDONLY | kernel.MS_NOSUID | kernel.MS_NODEV
        kernel.mount("none", str(target), None, kernel.MS_REMOUNT | kernel.MS_BIND | limits)


def _copy(source: Path, target: Path) -> None:
    if source.is_file() and source.stat().st_mode & stat.S_IROTH:
        with source.open("rb") as file:
            target.write_bytes(file.read(FILE_BYTES))


def _devices() -> None:
    folder = Path("dev")
    folder.mkdir()
    for name in DEVICES:
        (folder / name).touch()
        kernel.mount(f"/dev/{name}", str(folder / name), None, kernel.MS_BIND)
    for name, leads_to in LINKS.items():
        (folder / name).symlink_to(leads_to)
