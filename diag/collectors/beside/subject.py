"""What is read of a process before a command is started beside it: namespaces, root, user, capabilities."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Mapping
from dataclasses import dataclass

from diag.collectors.procfs import ProcFolder, parse_stat, parse_status
from diag.errors import CannotAttach, NoSuchInstance

# In the order in which a privileged process joins them: the mounts late, because nothing is found afterwards.
NAMESPACES = ("cgroup", "ipc", "uts", "net", "time", "mnt")
CHILDREN_ONLY = "pid"
NS_GET_OWNER_UID = 0xB704  # ioctl_ns(2)
CAPABILITIES = {"CAP_SETGID": 6, "CAP_SETUID": 7, "CAP_SYS_CHROOT": 18, "CAP_SYS_ADMIN": 21}
OVERFLOW_ID = 65534


@dataclass(frozen=True, slots=True)
class Identity:
    """A user as the kernel sees it from here. `inside` ids are those of its user namespace."""

    uid: int
    gid: int
    groups: tuple[int, ...]
    inside_uid: int
    inside_gid: int
    capabilities: int


@dataclass(frozen=True, slots=True)
class Reading:
    """`joins` are the namespaces that differ from ours; `moves_root` where its root is another even so."""

    pid: int
    joins: tuple[str, ...]
    moves_root: bool
    identity: Identity
    inside_pid: int

    @property
    def separate(self) -> bool:
        """Whether its files are others than ours."""
        return self.moves_root or "mnt" in self.joins

    def needs(self) -> tuple[str, ...]:
        """The capabilities that it takes to go there, of those in CAPABILITIES."""
        needed = ["CAP_SYS_ADMIN"] * bool(self.joins)
        needed += ["CAP_SYS_CHROOT"] * self.separate
        if self.identity.uid != os.geteuid():
            needed += ["CAP_SETUID", "CAP_SETGID"]
        return tuple(needed)

    def words(self) -> str:
        """How a command runs there."""
        user = f"as uid {self.identity.inside_uid}"
        where = [f"namespaces ({', '.join(self.joins)})"] * bool(self.joins) + ["root folder"] * self.moves_root
        return f"in its {' and '.join(where)}, {user}" if where else f"beside it, {user}"


def read(folder: ProcFolder, ticks: int) -> Reading:
    """Read it. Raises NoSuchInstance where the pid is another's by now, CannotAttach where this user may not look."""
    with ProcFolder(os.getpid()) as own:
        try:
            check_same(folder, ticks)
            kinds = [kind for kind in (*NAMESPACES, "pid", "user") if _there(own, kind)]
            joins = tuple(kind for kind in kinds if folder.identity(f"ns/{kind}") != own.identity(f"ns/{kind}"))
            moves = "mnt" in joins or folder.identity("root") != own.identity("root")
            status = parse_status(folder.text("status"))
            identity = _identity(status, folder)
        except PermissionError:
            raise CannotAttach(
                f"This user (uid {os.geteuid()}) may not read in which namespaces process {folder.pid} is.",
                "Run as the same user, or as root with CAP_SYS_PTRACE and CAP_SYS_ADMIN.",
            ) from None
        except (FileNotFoundError, ProcessLookupError):
            raise NoSuchInstance(f"Process {folder.pid} has ended.") from None
    inside = status.get("NSpid", "").split() or [str(folder.pid)]
    return Reading(folder.pid, joins, moves and "mnt" not in joins, identity, int(inside[-1]))


def check_same(folder: ProcFolder, ticks: int) -> None:
    """Raises NoSuchInstance unless the folder is that of the process that started then."""
    fields = parse_stat(folder.read("stat"))[1]
    if int(fields[19]) != ticks or fields[0] in ("Z", "X"):
        raise NoSuchInstance(f"Process {folder.pid} has ended.")


def check_privilege(reading: Reading, folder: ProcFolder) -> None:
    """Raise CannotAttach, with the exact capabilities, where the kernel would say no."""
    held = own_capabilities()
    if "user" in reading.joins and owns_user_namespace(folder):
        return
    lacking = [name for name in reading.needs() if not held >> CAPABILITIES[name] & 1]
    if lacking:
        names = " and ".join(lacking)
        raise CannotAttach(
            f"A command beside process {reading.pid} needs {names}, which this user (uid {os.geteuid()}) lacks.",
            f"Run as root{', or as its user' if not reading.joins and not reading.moves_root else ''}"
            f" (docker: {' '.join(f'--cap-add={name[4:]}' for name in lacking)}).",
        )


def own_capabilities() -> int:
    """Our effective ones, as bits."""
    with ProcFolder(os.getpid()) as own:
        return int(parse_status(own.text("status"))["CapEff"], 16)


def owns_user_namespace(folder: ProcFolder) -> bool:
    """Whether we made its user namespace, and so have every capability in it (user_namespaces(7))."""
    descriptor = folder.open("ns/user")
    try:
        owner = bytearray(4)
        fcntl.ioctl(descriptor, NS_GET_OWNER_UID, owner)
        return int.from_bytes(owner, "little") == os.geteuid() != 0
    except OSError:
        return False
    finally:
        os.close(descriptor)


def _there(own: ProcFolder, kind: str) -> bool:
    try:
        return bool(own.identity(f"ns/{kind}"))
    except FileNotFoundError:
        return False  # this kernel has no such namespaces


def _identity(status: Mapping[str, str], folder: ProcFolder) -> Identity:
    uids, gids = status["Uid"].split(), status["Gid"].split()
    # Real, effective, saved: of a process that is between users, the lower one.
    uid = next((int(word) for word in (uids[1], uids[0], uids[2]) if int(word)), 0)
    gid = int(gids[1])
    return Identity(
        uid=uid,
        gid=gid,
        groups=tuple(int(word) for word in status.get("Groups", "").split()),
        inside_uid=inside(uid, folder.text("uid_map")),
        inside_gid=inside(gid, folder.text("gid_map")),
        capabilities=int(status["CapBnd"], 16) & int(status["CapPrm"], 16),
    )


def inside(outside: int, mapping: str) -> int:
    """The id that this one of ours has in the namespace whose uid_map or gid_map says so (user_namespaces(7))."""
    for line in mapping.splitlines():
        first, ours, count = (int(word) for word in line.split())
        if ours <= outside < ours + count:
            return first + outside - ours
    return OVERFLOW_ID
