"""From the spool to a bucket, beside the SDKs by themselves: many small captures, then few large ones."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from hashlib import sha256
from pathlib import Path

from measure import DIAG, HERE, PROGRAMS, Table, at_least, at_most, cpu_s, descendants, scratch, started

TESTS = HERE.parent / "tests"
sys.path.append(str(TESTS))

from s3_server import serving_s3  # noqa: E402
from spooled import make_capture  # noqa: E402

from diag.model import MANIFEST, Artifact, new_capture_id, now  # noqa: E402
from diag.spool import Spool  # noqa: E402
from diag.spool.shelf import Entry, Shelf  # noqa: E402
from diag.upload.oss import OssStore  # noqa: E402

BUDGET, BUDGET_MB = 0.9, 60.0
AT_ONCE = OssStore.at_once
MB = 1_000_000


@dataclass(frozen=True)
class Load:
    """So many captures with one file of this size each. The SDKs send the first `by_sdk` of them, and are as fast."""

    name: str
    count: int
    size_bytes: int
    by_sdk: int


@dataclass(frozen=True)
class Server:
    """Where a bucket is, and the variables that let us in. `pids` are the server's processes."""

    sdk: str
    url: str
    environ: dict[str, str]
    pids: list[int]


@dataclass(frozen=True)
class Run:
    """What one client took for so many captures: seconds, CPU seconds, its peak RSS in MB, the server's CPU seconds."""

    captures: int
    seconds: float
    cpu_s: float
    peak_mb: float
    server_s: float

    @property
    def rate(self) -> float:
        """Captures a second."""
        return self.captures / self.seconds


def measure(*, quick: bool) -> list[Table]:
    """Each load to each server: by `diag flush`, and the same objects by the SDK, one after the other and AT_ONCE."""
    loads = (
        [Load("300 x 10 KB", 300, 10_000, 300), Load("2 x 50 MB", 2, 50 * MB, 2)]
        if quick
        else [Load("10,000 x 10 KB", 10_000, 10_000, 1_000), Load("10 x 200 MB", 10, 200 * MB, 5)]
    )
    return [_table(load) for load in loads]


def _table(load: Load) -> Table:
    rows, notes = [], []
    for serving in (_s3, _oss):
        with scratch() as environment, serving(environment) as server:
            files = _fill(Path(environment["HOME"]) / "spool", load)
            bare = _bare(server, environment, load, files, 1)
            many = _bare(server, environment, load, files, AT_ONCE)
            ours = _ours(server, environment, load)
        rows += [
            _row(f"{server.sdk}, one after the other", load, bare, bare, ""),
            _row(f"{server.sdk}, {AT_ONCE} at a time", load, many, bare, ""),
            _row(f"diag flush to {server.url.partition(':')[0]}", load, ours, bare, _verdict(ours, bare)),
        ]
        busy = [run.server_s / run.seconds for run in (bare, ours)]
        notes.append(
            f"The server of {server.sdk} used {busy[0]:.2f} of a core for the SDK and {busy[1]:.2f} for diag"
            + (": it is the bottleneck, not its clients." if min(busy) > 0.7 else ".")
        )
    notes += [
        "All send the same objects, a file and a manifest for each capture. Each client is a process of its own, timed",
        f"from its start to its end, imports included. diag has {AT_ONCE} small captures on their way, and two large.",
        *([f"The SDKs send {load.by_sdk:,} of the captures."] if load.by_sdk < load.count else []),
    ]
    columns = (load.name, "captures", "s", "a second", "MB/s", "ratio", "CPU ms each", "peak MB", "server's", "budget")
    return Table(f"Upload: {load.name}, to test servers on this machine", columns, rows, notes)


def _row(name: str, load: Load, run: Run, bare: Run, verdict: str) -> tuple[str, ...]:
    figures = (f"{run.captures:,}", f"{run.seconds:.1f}", f"{run.rate:.1f}", f"{run.rate * load.size_bytes / MB:.1f}")
    return name, *figures, f"{run.rate / bare.rate:.2f}", *_costs(run), verdict


def _costs(run: Run) -> tuple[str, str, str]:
    """CPU of the client and of the server in ms for a capture, so that the tables compare."""
    return f"{run.cpu_s / run.captures * 1000:.1f}", f"{run.peak_mb:.0f}", f"{run.server_s / run.captures * 1000:.1f}"


def _verdict(ours: Run, bare: Run) -> str:
    return f"{at_least(ours.rate / bare.rate, BUDGET)}, {at_most(ours.peak_mb, BUDGET_MB, 'MB RSS')}"


def _fill(root: Path, load: Load) -> list[Path]:
    """A spool of captures, put there at once: what is measured is the way out. Returns every file, manifests last."""
    Spool(root, 1 << 60, 0).begin(make_capture()).abandon("nothing")
    files, shelf = [], Shelf(root / "pending" / "report")
    began = now()
    for number in range(load.count):
        capture_id = new_capture_id(began - timedelta(milliseconds=100 * (load.count - number)))
        folder = shelf.path(Entry(capture_id, load.size_bytes, number).name)
        folder.mkdir(mode=0o700, parents=True)
        small = load.size_bytes < MB
        content = _report(number, load.size_bytes) if small else os.urandom(load.size_bytes)
        name, kind = ("report.json", "application/json") if small else ("memory.bin", "application/octet-stream")
        artifact = Artifact(name, "report", "json", kind, len(content), sha256(content).hexdigest())
        capture = make_capture("report", capture_id=capture_id, artifacts=(artifact,), redacted=True)
        (folder / name).write_bytes(content)
        (folder / MANIFEST).write_text(json.dumps(capture.to_json(), indent=1))
        files += [folder / name, folder / MANIFEST]
    os.sync()  # what is written late is not to be paid by whoever comes first
    return files


def _report(number: int, size_bytes: int) -> bytes:
    """A report of about this size, of what reports are made of."""
    frames = [
        {"function": f"serve_{line}", "file": f"/srv/shop/orders_{line % 7}.py", "line": line, "inApp": True}
        for line in range(size_bytes // 105)
    ]
    return json.dumps({"number": number, "signal": "SIGSEGV", "frames": frames}, indent=1).encode()


def _ours(server: Server, environment: dict[str, str], load: Load) -> Run:
    spool = Path(environment["HOME"]) / "spool"
    variables = {"DIAG_STORE": server.url, "DIAG_SPOOL": str(spool), "DIAG_UPLOAD_RATE_MB_S": "0"}
    run = _timed([*DIAG, "flush"], {**environment, **server.environ, **variables}, server, load.count)
    stored = Spool(spool, 1 << 60, 0).account().stored
    if stored != load.count:
        raise SystemExit(f"{stored} of {load.count} captures were stored.")
    return run


def _bare(server: Server, environment: dict[str, str], load: Load, files: list[Path], at_once: int) -> Run:
    files = files[: 2 * load.by_sdk]
    listed = Path(environment["HOME"]) / "listed"
    listed.write_text("".join(f"{one}\tby-{at_once}/{one.parent.name}/{one.name}\n" for one in files))
    command = [sys.executable, str(PROGRAMS / "bare_upload.py"), server.sdk, server.url, str(listed), str(at_once)]
    return _timed(command, {**environment, **server.environ}, server, load.by_sdk)


def _timed(command: list[str], environment: dict[str, str], server: Server, captures: int) -> Run:
    before, began = cpu_s(server.pids), time.monotonic()
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    peak_mb = 0.0
    while not (ended := os.wait4(process.pid, os.WNOHANG))[0]:
        peak_mb = max(peak_mb, _peak_mb(process.pid))
        time.sleep(0.01)
    seconds, (_, status, used) = time.monotonic() - began, ended
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{command} ended with {process.returncode}.")
    return Run(captures, seconds, used.ru_utime + used.ru_stime, peak_mb, cpu_s(server.pids) - before)


def _peak_mb(pid: int) -> float:
    """The most that it has had resident since its exec; ru_maxrss would count what its parent had before that."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024 / MB
    return 0.0  # a zombie


@contextmanager
def _s3(environment: dict[str, str]) -> Iterator[Server]:  # noqa: ARG001
    with serving_s3() as s3:
        pids = [pid for pid in descendants(os.getpid()) if pid != os.getpid()]
        yield Server("boto3", s3.store_url(s3.bucket("bench")), s3.keys.environ(), pids)


@contextmanager
def _oss(environment: dict[str, str]) -> Iterator[Server]:
    keys = {"OSS_ACCESS_KEY_ID": "bench", "OSS_ACCESS_KEY_SECRET": "bench"}
    folder = Path(environment["HOME"]) / "oss"
    command = [sys.executable, "-m", "oss_server", str(folder), "--bucket", "bench"]
    with started(command, {**environment, **keys}, cwd=TESTS) as process:
        assert process.stdout is not None
        yield Server("oss2", process.stdout.readline().decode().strip(), keys, [process.pid])
    with contextlib.suppress(OSError):
        shutil.rmtree(folder)
