"""`diag profile` of an instance under `diag run`: all its processes, and the requests that it served meanwhile."""

from __future__ import annotations

import http.client
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from instances import Machine
from machine import PROGRAMS, TIMEOUT_S
from moving import listed

from diag.profiles import formats, tables
from diag.profiles.model import PID, REQUEST_ID, THREAD_ID, TRACE_ID, Profile, label

TRACE = "0af7651916cd43dd8448eb211c80319c"
WORKERS = 2


@contextmanager
def shop(machine: Machine) -> Iterator[int]:
    """A shop under gunicorn under `diag run`; gives its port."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(64)
        port = listener.getsockname()[1]
        gunicorn = [sys.executable, "-m", "gunicorn", "--workers", str(WORKERS), "--no-control-socket"]
        bound = ["--bind", f"fd://{listener.fileno()}", "web_busy:application"]
        options = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "pass_fds": (listener.fileno(),)}
        process = machine.start(*gunicorn, *bound, flags=("--name", "shop"), cwd=PROGRAMS, **options)
        try:
            ask(port, "warm")
            wait_until_linked(machine, 1 + WORKERS)
            yield port
        finally:
            process.terminate()
            process.wait(TIMEOUT_S)


def wait_until_linked(machine: Machine, processes: int) -> None:
    """Wait until the agent knows so many processes: the first one and its workers."""
    until = time.monotonic() + TIMEOUT_S
    while len(list((machine.home / "run/diag").glob("*/bb/*.*.bb"))) < processes:
        assert time.monotonic() < until
        time.sleep(0.01)


def ask(port: int, name: str) -> None:
    """One request with an id and a trace."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_S)
    headers = {"X-Request-Id": name, "traceparent": f"00-{TRACE}-b7ad6b7169203331-01"}
    connection.request("GET", "/", headers=headers)
    assert connection.getresponse().read() == b"done"
    connection.close()


@contextmanager
def asking(port: int) -> Iterator[list[str]]:
    """Requests without an end, from two threads; gives the ids of those that were answered."""
    asked: list[str] = []
    enough = threading.Event()

    def go(number: int) -> None:
        count = 0
        while not enough.is_set():
            count += 1
            ask(port, f"order-{number}-{count}")
            asked.append(f"order-{number}-{count}")

    threads = [threading.Thread(target=go, args=(number,)) for number in range(WORKERS)]
    for thread in threads:
        thread.start()
    try:
        yield asked
    finally:
        enough.set()
        for thread in threads:
            thread.join(TIMEOUT_S)


def profile(machine: Machine) -> Profile:
    """The only profile that was kept."""
    (path,) = listed(machine.state, "store/v1/**/profile.pb.gz")
    return formats.read(path.read_bytes())


def labels(one: Profile, key: str) -> set[str | int]:
    """The values of a label."""
    found = {label(one.label_sets[tags], key) for tags in set(one.labels_of)}
    return {value for value in found if value is not None}


@pytest.mark.parametrize("engine", ["austin", "py-spy"])
def test_a_named_instance_with_its_workers_and_requests(machine: Machine, engine: str) -> None:
    """All workers are sampled; samples inside a request carry it; the capture links the requests."""
    with shop(machine) as port, asking(port) as asked:
        ended = machine.diag("profile", "shop", "-d", "4", "--engine", engine)

    assert ended.status == 0, ended.stderr
    one = profile(machine)
    by_function = tables.by_function(one, one.column())
    assert "hottest" in [function.name for function, _ in tables.top(by_function, 4)]
    assert len(labels(one, PID)) >= WORKERS
    assert len(labels(one, THREAD_ID)) >= WORKERS
    requests = {str(value) for value in labels(one, REQUEST_ID)}
    assert len(requests) > 2
    assert all(re.fullmatch(r"order-\d-\d+", name) for name in requests)
    assert labels(one, TRACE_ID) == {TRACE}
    manifest = next(capture for capture in machine.captures() if capture["kind"] == "profile")
    linked = {link["request_id"] for link in manifest["links"]}
    assert requests <= linked
    assert linked & set(asked)
    # What computes does so inside of requests only.
    inside = outside = 0
    for index in range(len(one)):
        if any(frame.function == "hottest" for frame in one.frames_of(index)):
            known = label(one.label_sets[one.labels_of[index]], REQUEST_ID)
            inside, outside = inside + (known is not None), outside + (known is None)
    assert inside > 4 * outside
    assert manifest["instance"]["name"] == "shop"


def test_one_worker_by_its_pid(machine: Machine) -> None:
    """By its pid only that worker is sampled; `--subprocesses` is for names."""
    with shop(machine) as port, asking(port):
        rows = machine.diag("ps", "--json").stdout
        workers = [int(pid) for pid in re.findall(r'"pid": (\d+)', rows)]
        busy = max(workers, key=lambda pid: _cpu(pid))
        ended = machine.diag("profile", str(busy), "-d", "2")

    assert ended.status == 0, ended.stderr
    assert labels(profile(machine), PID) == {busy}


def _cpu(pid: int) -> int:
    try:
        name = str(Path(f"/proc/{pid}/exe").readlink())
        ticks = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11])
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return -1
    return ticks if "python" in name and b"web_busy" in command and b"diag\0run" not in command else -1
