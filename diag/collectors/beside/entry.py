"""Goes where a process is, and becomes its user: everything that is needed there is opened before."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from diag.collectors.beside import kernel, tools
from diag.collectors.beside.subject import NAMESPACES, Reading, owns_user_namespace
from diag.collectors.procfs import ProcFolder

# What a setns(2) or a change of user fails for, in the words of capabilities(7).
NEEDED = {"mnt": "CAP_SYS_ADMIN and CAP_SYS_CHROOT", "root": "CAP_SYS_CHROOT", "uid": "CAP_SETUID and CAP_SETGID"}


class Refused(Exception):
    """The kernel said no at this step."""

    def __init__(self, step: str, error: OSError) -> None:
        super().__init__(f"{step}: {error.strerror}")
        self.step, self.errno = step, error.errno or 0
        self.needed = NEEDED.get(step, "CAP_SYS_ADMIN")


@contextmanager
def _step(name: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise Refused(name, error) from None


@dataclass
class Way:
    """The open descriptors of where to go. Made where /proc is still ours."""

    reading: Reading
    host_tools: bool
    namespaces: dict[str, int]
    root: int | None
    folder: int | None
    user_first: bool
    sets_groups: bool

    @classmethod
    def open(cls, folder: ProcFolder, reading: Reading, *, host_tools: bool) -> Way:
        """Raises Refused, or OSError where the process goes away meanwhile."""
        joins = [kind for kind in reading.joins if not (host_tools and kind == "mnt")]
        with _step("ns"):
            namespaces = {kind: folder.open(f"ns/{kind}") for kind in joins}
        root = None
        if reading.separate and not host_tools:
            with _step("root"):
                root = _folder(folder, "root")
        try:
            stands_in = None if reading.separate and host_tools else _folder(folder, "cwd")
        except OSError:
            stands_in = None  # it was removed
        user_first = "user" in reading.joins and owns_user_namespace(folder)
        # What an unprivileged user namespace denies, nobody in it may do (user_namespaces(7), setgroups).
        sets_groups = not user_first or folder.text("setgroups").strip() == "allow"
        return cls(reading, host_tools, namespaces, root, stands_in, user_first, sets_groups)

    def join_pids(self) -> None:
        """What holds for children only, and, without privilege, the user namespace that allows the rest.

        Raises Refused.
        """
        if self.user_first:
            self._join("user")
        self._join("pid")

    def go(self) -> None:
        """Everything else but the user. Nothing of the instance's files is read or followed. Raises Refused."""
        for kind in NAMESPACES:
            if kind != "mnt":
                self._join(kind)
        if self.host_tools and self.reading.separate:
            if "mnt" in self.reading.joins:
                with _step("mnt"):
                    tools.move_in(self.reading.inside_pid)
            os.chdir("/")
            return
        self._join("mnt")
        if self.root is not None:
            with _step("root"):
                os.fchdir(self.root)
                os.chroot(".")
                os.chdir("/")

    def become(self) -> None:
        """Its user, with no more capabilities than it has, for good. Raises Refused."""
        identity = self.reading.identity
        privileged = os.geteuid() == 0 or self.user_first
        with _step("uid"):
            if privileged and self.sets_groups and not self.user_first:
                os.setgroups(identity.groups)  # ids of ours, so before its user namespace
            if not self.user_first:
                self._join("user")
            kernel.limit_capabilities(identity.capabilities)
            if (os.getuid(), os.geteuid()) != (identity.inside_uid,) * 2 or privileged:
                os.setresgid(*(identity.inside_gid,) * 3)
                os.setresuid(*(identity.inside_uid,) * 3)
            kernel.keep_capabilities(identity.capabilities)
            kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
            kernel.prctl(kernel.PR_SET_DUMPABLE, 0)
        self._stand()

    def _stand(self) -> None:
        if self.folder is not None:
            try:
                os.fchdir(self.folder)  # as its user, who may have lost the right to
            except OSError:
                os.chdir("/")

    def _join(self, kind: str) -> None:
        if kind in self.namespaces:
            with _step(kind):
                kernel.setns(self.namespaces[kind])


def _folder(folder: ProcFolder, name: str) -> int:
    return os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=folder.descriptor)
