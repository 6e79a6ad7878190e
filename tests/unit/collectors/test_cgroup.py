"""Control groups of both versions, from files as the kernel writes them."""

from __future__ import annotations

from pathlib import Path

import pytest

from diag.collectors.cgroup import Bound, Mount, memory_bound, parse_mounts, read_cgroup

NO_LIMIT = "9223372036854771712"


def write(folder: Path, **files: str) -> None:
    """Files whose names have a `__` for the dot."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name.replace("__", ".")).write_text(content + "\n")


def v2(tmp_path: Path, root: str = "/") -> tuple[Mount, ...]:
    """A version 2 hierarchy."""
    return (Mount(frozenset([""]), root, tmp_path),)


def test_version_2_memory_and_cpu(tmp_path: Path) -> None:
    """Use, peak, kills and throttling come from the process's own group."""
    write(
        tmp_path / "shop",
        memory__max="1048576",
        memory__current="4096",
        memory__peak="8192",
        memory__events="low 0\nhigh 0\nmax 5\noom 2\noom_kill 1",
        cpu__max="150000 100000",
        cpu__stat="usage_usec 10\nnr_periods 9\nnr_throttled 3\nthrottled_usec 2500000",
    )

    assert read_cgroup("0::/shop\n", v2(tmp_path)) == {
        "version": 2,
        "path": "/shop",
        "memory": {"limit": 1048576, "usage": 4096, "peak": 8192, "failCount": 5, "ooms": 2, "oomKills": 1},
        "cpu": {"quotaCores": 1.5, "periods": 9, "throttledPeriods": 3, "throttledSeconds": 2.5},
    }


def test_limit_in_force_is_the_lowest_above(tmp_path: Path) -> None:
    """A group without a limit is still bounded by the groups around it."""
    write(tmp_path / "pod", memory__max="1000000", cpu__max="50000 100000")
    write(tmp_path / "pod" / "app", memory__max="max", memory__current="1", cpu__max="max 100000")

    found = read_cgroup("0::/pod/app\n", v2(tmp_path))

    assert (found["memory"]["limit"], found["cpu"]["quotaCores"]) == (1000000, 0.5)


@pytest.mark.parametrize("state", ["FROZEN", "FREEZING", "THAWED"])
def test_a_frozen_group_is_told(state: str, tmp_path: Path) -> None:
    """In both versions; of a group that runs nothing is said."""
    write(tmp_path / "one" / "shop", freezer__state=state)
    write(tmp_path / "two" / "shop", cgroup__events=f"populated 1\nfrozen {int(state != 'THAWED')}")
    freezer = (Mount(frozenset(["freezer"]), "/", tmp_path / "one"),)

    old = read_cgroup("7:freezer:/shop\n0::/\n", freezer)
    new = read_cgroup("0::/shop\n", v2(tmp_path / "two"))

    assert [found.get("frozen") for found in (old, new)] == ([None] * 2 if state == "THAWED" else [True] * 2)


def test_version_1_memory_and_cpu(tmp_path: Path) -> None:
    """Version 1 has a hierarchy a controller; its largest number means no limit."""
    mounts = (
        Mount(frozenset(["memory"]), "/", tmp_path / "m"),
        Mount(frozenset(["cpu", "cpuacct"]), "/", tmp_path / "c"),
    )
    write(
        tmp_path / "m" / "shop",
        memory__limit_in_bytes=NO_LIMIT,
        memory__usage_in_bytes="4096",
        memory__max_usage_in_bytes="8192",
        memory__failcnt="7",
        memory__oom_control="oom_kill_disable 0\nunder_oom 0\noom_kill 3",
    )
    write(
        tmp_path / "c" / "shop",
        cpu__cfs_quota_us="-1",
        cpu__cfs_period_us="100000",
        cpu__stat="nr_periods 0\nnr_throttled 0\nthrottled_time 1500000000",
    )

    assert read_cgroup("5:cpu,cpuacct:/shop\n4:memory:/shop\n0::/\n", mounts) == {
        "version": 1,
        "path": "/shop",
        "memory": {"limit": None, "usage": 4096, "peak": 8192, "failCount": 7, "oomKills": 3},
        "cpu": {"quotaCores": None, "periods": 0, "throttledPeriods": 0, "throttledSeconds": 1.5},
    }


def test_group_of_a_container_is_found_under_its_mount(tmp_path: Path) -> None:
    """Inside a container the mount shows the container's group as its top."""
    write(tmp_path, memory__current="99")

    found = read_cgroup("0::/docker/abc\n", v2(tmp_path, root="/docker/abc"))

    assert found["memory"]["usage"] == 99


def test_group_outside_of_the_mount_is_not_guessed(tmp_path: Path) -> None:
    """`/../other` and a group of another container name folders that are not here; ours must not answer for them."""
    write(tmp_path / "other", memory__current="99")

    assert "memory" not in read_cgroup("0::/../other\n", v2(tmp_path))
    assert "memory" not in read_cgroup("0::/docker/xyz\n", v2(tmp_path, root="/docker/abc"))


def test_mounts_of_both_versions_are_found() -> None:
    """A hybrid machine mounts controllers of version 1 beside version 2."""
    mounts = parse_mounts(
        "30 25 0:26 / /sys/fs/cgroup/memory rw,relatime shared:9 - cgroup cgroup rw,memory\n"
        "31 25 0:27 /docker/abc /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw,nsdelegate\n"
        "32 25 0:28 / /proc rw - proc proc rw\n"
    )

    assert [(m.root, str(m.folder), "memory" in m.controllers, "" in m.controllers) for m in mounts] == [
        ("/", "/sys/fs/cgroup/memory", True, False),
        ("/docker/abc", "/sys/fs/cgroup/unified", False, True),
    ]


def test_the_group_whose_limit_is_in_force(tmp_path: Path) -> None:
    """In version 2 it is the one with the lowest limit, and what files can give back is not in use."""
    write(tmp_path / "pod", memory__max="1000000", memory__current="900000", memory__stat="anon 1\ninactive_file 50000")
    write(tmp_path / "pod" / "app", memory__max="max", memory__current="1")

    bound = memory_bound("0::/pod/app\n", v2(tmp_path))

    assert bound == Bound(2, tmp_path / "pod", 1000000)
    assert bound.used() == 850000
    assert not bound.notify(0, [500000])
    (tmp_path / "pod" / "memory.current").unlink()
    assert bound.used() is None


def test_no_limit_bounds_nobody(tmp_path: Path) -> None:
    """Neither in version 2 nor in version 1, where the group below counts with those around it."""
    mounts = (Mount(frozenset(["memory"]), "/", tmp_path / "m"),)
    write(tmp_path / "app", memory__max="max", memory__current="1")
    write(tmp_path / "m" / "shop", memory__limit_in_bytes=NO_LIMIT, memory__usage_in_bytes="4096")

    assert memory_bound("0::/app\n", v2(tmp_path)) is None
    assert memory_bound("4:memory:/shop\n0::/\n", mounts) is None

    write(tmp_path / "m", memory__limit_in_bytes="8192", memory__usage_in_bytes="5000")
    write(tmp_path / "m", memory__stat="inactive_file 7\ntotal_inactive_file 1000")

    bound = memory_bound("4:memory:/shop\n0::/\n", mounts)
    assert bound == Bound(1, tmp_path / "m", 8192)
    assert bound.used() == 4000
    assert not bound.notify(0, [4096])  # nothing there takes the wish
