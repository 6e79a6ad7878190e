"""The main job on real input: a shop under gunicorn dies in four ways, its import in a fifth; each death has a page.

`make demo` leaves the viewer running until Ctrl-C; `make demo CHECK=1` checks the result and ends; STORE=s3 and
STORE=oss keep the captures in an object store that the demo starts itself.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from memory_group import memory_group
from stores import object_store

HERE = Path(__file__).parent
DIAG = [sys.executable, "-m", "diag"]
PATIENCE_S = 90
EXPECTED = (
    ("fault", "crash", "NATIVE"),
    ("raise", "event", "EVENT"),
    ("kill", "crash", "OUTSIDE"),
    ("hang", "crash", "FULL"),
)
TIMEOUT_S = 20  # gunicorn's own, for a worker that is silent
NIGHTLY_BYTES = 160 << 20
_BOUND: list[socket.socket] = []  # for as long as the demo runs


def main() -> int:
    """Run the demo; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="check the result and end")
    parser.add_argument("--store", default="", help="s3 or oss; a folder otherwise")
    asked = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="diag-demo-"))
    environment = {
        **os.environ,
        "XDG_STATE_HOME": str(folder / "state"),
        "XDG_RUNTIME_DIR": str(folder / "run"),
        "DIAG_CONFIG": str(_empty(folder / "config.toml")),
    }
    try:
        with object_store(asked.store, folder) as named:
            return demonstrate({**environment, **named}, check=asked.check)
    except KeyboardInterrupt:
        print()
        return 0
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def demonstrate(environment: dict[str, str], *, check: bool) -> int:
    """Start the viewer and the shop, let the shop die, print what was caught."""
    viewer_port = free_port() if check else int(os.environ.get("PORT", "8321"))
    shop_port = free_port()
    viewer = f"http://127.0.0.1:{viewer_port}"
    with started([*DIAG, "serve", "--port", str(viewer_port)], environment, f"{viewer}/healthz"):
        say(f"The viewer is at {viewer}/")
        gunicorn = ["gunicorn", "--chdir", str(HERE), "--workers", "2", "--bind", f"127.0.0.1:{shop_port}", "shop:app"]
        gunicorn += ["--timeout", str(TIMEOUT_S)]
        command = [
            *DIAG,
            "run",
            "--name",
            "shop",
            "--hang-after",
            "5",
            "--",
            sys.executable,
            "-m",
            *gunicorn,
            "--log-level",
            "warning",
        ]
        say(f"$ diag run --name shop --hang-after 5 -- gunicorn --workers 2 --timeout {TIMEOUT_S} shop:app")
        with started(command, environment, f"http://127.0.0.1:{shop_port}/"):
            ids = visit(shop_port, environment)
        killed = run_nightly(environment)
        deaths = 3 + killed
        wait_for(lambda: sum(one["kind"] == "crash" for one in captures(environment)) >= deaths, f"{deaths} crashes")
        found = captures(environment)
        show(found, viewer)
        problems = [*mistakes(found, ids, viewer), *(out_of_memory(found, viewer) if killed else ())]
        if check:
            return conclude(problems)
        say("\nOpen the page; Ctrl-C ends the viewer.")
        signal.pause()
    return 0


def visit(port: int, environment: dict[str, str]) -> dict[str, tuple[str, str]]:
    """Send traffic, some of it fatal; returns (request id, trace id) of the requests that went wrong."""
    names = ("fault", "raise", "kill", "hang")
    ids = {name: (f"req-{name}-{secrets.token_hex(4)}", secrets.token_hex(16)) for name in names}
    for item in ("tea", "cup", "pot") * 5:
        get(port, f"/checkout/{item}?count=2", f"req-{secrets.token_hex(4)}", secrets.token_hex(16))
    say("GET /checkout/sock    an item that is not for sale: KeyError, answered with 500")
    get(port, "/checkout/sock", *ids["raise"])
    say("GET /label/tea        a native library follows a NULL pointer: the worker dies of SIGSEGV")
    get(port, "/label/tea", *ids["fault"])
    say("GET /slow             and its worker is killed with SIGKILL meanwhile")
    with in_flight(port, "/slow?seconds=60", *ids["kill"]):
        os.kill(worker_serving("/slow", environment), signal.SIGKILL)
    wait_for(lambda: get(port, "/", "req-after", secrets.token_hex(16)) == 200, "gunicorn to start new workers")
    say(f"GET /pay/tea          the bank does not answer; gunicorn ends the worker after {TIMEOUT_S} s")
    with in_flight(port, "/pay/tea", *ids["hang"]) as hanging:
        report_live(environment)
        hanging.settimeout(PATIENCE_S)
        hanging.recv(1)
    return ids


@contextmanager
def in_flight(port: int, path: str, request_id: str, trace_id: str) -> Iterator[socket.socket]:
    """A request that is in flight inside the block, or until it is answered or its worker ends."""
    with socket.create_connection(("127.0.0.1", port)) as connection:
        head = f"GET {path} HTTP/1.1\r\nHost: shop\r\n{headers_text(request_id, trace_id)}\r\n"
        connection.sendall(head.encode())
        yield connection


def worker_serving(path: str, environment: dict[str, str]) -> int:
    """The pid of the worker that serves this path now, as `diag report` sees it."""
    found: list[int] = []

    def look() -> bool:
        report = json.loads(run([*DIAG, "report", "shop", "--json"], environment))
        found[:] = [
            w["header"]["processId"] for w in report["workers"] if any(path in r["path"] for r in w["requests"])
        ]
        return bool(found)

    wait_for(look, "the slow request to be in flight")
    return found[0]


def run_nightly(environment: dict[str, str]) -> bool:
    """Let the nightly import use up the memory of a control group; whether one could be made here."""
    with memory_group(NIGHTLY_BYTES) as group:
        if group is None:
            say("The OOM kill is left out: it takes root, and control groups that may be changed.")
            return False
        say("$ diag run --name nightly -- python nightly.py    in a control group of 160 MiB: the OOM killer ends it")
        inside = ["sh", "-c", 'echo $$ > "$0/cgroup.procs"; exec "$@"', str(group), sys.executable, HERE / "nightly.py"]
        command = [*DIAG, "run", "--name", "nightly", "--", *inside]
        ended = subprocess.run(command, env=environment, timeout=PATIENCE_S, check=False)
        if ended.returncode != 128 + signal.SIGKILL:
            raise SystemExit(f"The nightly import ended with {ended.returncode}, and not by SIGKILL.")
        return True


def report_live(environment: dict[str, str]) -> None:
    """A report of the shop as it runs."""
    say("$ diag report shop")
    run([*DIAG, "report", "shop"], environment)


def captures(environment: dict[str, str]) -> list[dict[str, Any]]:
    """What `diag ls` knows, newest first."""
    found: list[dict[str, Any]] = json.loads(run([*DIAG, "ls", "--json"], environment))
    return found


def show(found: list[dict[str, Any]], viewer: str) -> None:
    """Print what was caught, with the pages' addresses."""
    say("\nWhat was caught:")
    for row in reversed(found):
        request = next((link["request_id"] for link in row["links"] if link["request_id"]), "")
        say(f"  {row['kind']:7} {row['level'] or '':8} {row['title']}")
        say(f"          {viewer}/captures/{row['capture_id']}   {request}")


def mistakes(found: list[dict[str, Any]], ids: dict[str, tuple[str, str]], viewer: str) -> list[str]:
    """What is not as it should be."""
    problems = []
    for name, kind, level in EXPECTED:
        request_id, trace_id = ids[name]
        rows = [row for row in found if any(link["request_id"] == request_id for link in row["links"])]
        rows = [row for row in rows if row["kind"] == kind and row["level"] == level]
        if len(rows) != 1:
            problems.append(f"{name}: {len(rows)} captures of kind {kind}, level {level} with {request_id}, not 1")
            continue
        if not any(link["trace_id"] == trace_id for link in rows[0]["links"]):
            problems.append(f"{name}: the trace {trace_id} is not linked")
        pages = (f"/captures/{rows[0]['capture_id']}", f"/requests/{request_id}", f"/traces/{trace_id}")
        silent = [page for page in pages if not says(viewer + page, request_id, trace_id)]
        problems += [f"{name}: {page} does not name {request_id} and {trace_id}" for page in silent]
        if name == "hang" and not says(f"{viewer}/captures/{rows[0]['capture_id']}", "has been under way for"):
            problems.append("hang: nobody looked at the worker before gunicorn ended it")
    if not any(row["kind"] == "report" for row in found):
        problems.append("the live report is missing")
    return problems


def out_of_memory(found: list[dict[str, Any]], viewer: str) -> Iterator[str]:
    """What is not as it should be of the OOM kill."""
    rows = [row for row in found if row["trigger"] == "oom"]
    if len(rows) != 1:
        yield f"oom: {len(rows)} captures, not 1"
    elif not says(f"{viewer}/captures/{rows[0]['capture_id']}", "Memory in use grew"):
        yield "oom: its page does not say how memory grew"


def conclude(problems: list[str]) -> int:
    """Say how the check went; returns the exit code."""
    for problem in problems:
        say(f"WRONG: {problem}")
    say("" if problems else "\nChecked: every death has its record, its request, its trace and its page.")
    return 1 if problems else 0


@contextmanager
def started(command: list[str], environment: dict[str, str], address: str) -> Iterator[subprocess.Popen[bytes]]:
    """A server that answers at the address; it is asked to stop at the end."""
    with subprocess.Popen(command, env=environment) as process:
        try:
            wait_for(lambda: process.poll() is not None or fetch(address) != "", f"an answer at {address}")
            if process.poll() is not None:
                raise SystemExit(f"{' '.join(command)} ended with {process.returncode}")
            yield process
        finally:
            process.terminate()
            try:
                process.wait(PATIENCE_S)
            except subprocess.TimeoutExpired:
                process.kill()


def get(port: int, path: str, request_id: str, trace_id: str) -> int:
    """The status of a request; 0 where the connection broke."""
    target = urllib.request.Request(f"http://127.0.0.1:{port}{path}", headers=headers(request_id, trace_id))
    try:
        with urllib.request.urlopen(target, timeout=PATIENCE_S) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0


def headers(request_id: str, trace_id: str) -> dict[str, str]:
    """What a gateway would send along."""
    return {"X-Request-ID": request_id, "traceparent": f"00-{trace_id}-{secrets.token_hex(8)}-01"}


def headers_text(request_id: str, trace_id: str) -> str:
    """The same for a request written by hand."""
    return "".join(f"{name}: {value}\r\n" for name, value in headers(request_id, trace_id).items())


def fetch(address: str) -> str:
    """The page's text; empty where nobody answers."""
    try:
        with urllib.request.urlopen(address, timeout=PATIENCE_S) as answer:
            return str(answer.read().decode())
    except OSError:
        return ""


def says(address: str, *words: str) -> bool:
    """Whether the page says all of this, now or soon: the viewer looks into the store only now and then."""
    until = time.monotonic() + PATIENCE_S
    while True:
        page = fetch(address)
        if all(word in page for word in words):
            return True
        if time.monotonic() > until:
            return False
        time.sleep(0.1)


def run(command: list[str], environment: dict[str, str]) -> str:
    """The command's output; ends the demo where it fails."""
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr}")
    return done.stdout


def wait_for(happened: Callable[[], bool], what: str) -> None:
    """Wait until it has happened. Ends the demo after PATIENCE_S."""
    until = time.monotonic() + PATIENCE_S
    while not happened():
        if time.monotonic() > until:
            raise SystemExit(f"Waited {PATIENCE_S} s in vain for {what}.")
        time.sleep(0.1)


def free_port() -> int:
    """A port of the loopback that nobody listens on, nor is given: it stays bound, which keeps no server from it."""
    bound = socket.socket()
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    bound.bind(("127.0.0.1", 0))
    _BOUND.append(bound)
    return int(bound.getsockname()[1])


def say(line: str) -> None:
    """Print at once."""
    print(line, flush=True)


def _empty(path: Path) -> Path:
    path.write_text("")
    return path


if __name__ == "__main__":
    sys.exit(main())
