"""A real PostgreSQL for tests: a cluster of its own on the loopback, which is gone afterwards."""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from machine import TIMEOUT_S, missing
from ports import reserved_port

USER = "postgres"  # the server does not run as root


@dataclass(slots=True)
class Postgres:
    """A cluster in `folder`, with everybody trusted who comes over the loopback."""

    folder: Path
    binaries: Path
    port: int
    settings: tuple[str, ...] = ()
    process: subprocess.Popen[bytes] | None = None

    def url(self, database: str = "postgres", user: str = USER) -> str:
        """The URL of one of its databases."""
        return f"postgresql://{user}@127.0.0.1:{self.port}/{database}"

    def database(self, *, owner: str = USER) -> str:
        """Make a database; returns its URL as its owner opens it."""
        name = f"d{secrets.token_hex(6)}"
        self.run(f"CREATE DATABASE {name} OWNER {owner}")
        return self.url(name, owner)

    def drop(self, url: str) -> None:
        """Remove one of its databases, whoever is connected to it: each is hundreds of files."""
        self.run(f"DROP DATABASE {url.rpartition('/')[2]} WITH (FORCE)")

    def run(self, statement: str, url: str = "") -> list[Any]:
        """One statement, on a connection of its own; returns its rows."""
        with psycopg.connect(url or self.url(), autocommit=True, connect_timeout=TIMEOUT_S) as connection:
            cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else []

    def start(self) -> None:
        """Start the server and wait until it answers."""
        settings = ("listen_addresses=127.0.0.1", "logging_collector=off", *self.settings)
        command = [
            str(self.binaries / "postgres"),
            "-D",
            str(self.folder),
            "-p",
            str(self.port),
            "-k",
            str(self.folder),
        ]
        command += [word for setting in settings for word in ("-c", setting)]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True, **_as_user())
        ends = time.monotonic() + 2 * TIMEOUT_S
        while True:
            try:
                self.run("SELECT 1")
                return
            except psycopg.OperationalError:
                assert self.process.poll() is None, (self.folder / "log").read_text()
                assert time.monotonic() < ends, (self.folder / "log").read_text()
                time.sleep(0.05)

    def stop(self) -> None:
        """End it as a fast shutdown does: who is connected is told to go."""
        assert self.process is not None
        self.process.send_signal(signal.SIGINT)
        self.process.wait(TIMEOUT_S)


def find_binaries() -> Path:
    """The folder of initdb and postgres, of the newest version that is installed."""
    found = shutil.which("initdb")
    places = [Path(found)] if found else []
    places += sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: float(path.parts[-3]))
    if not places:
        missing("PostgreSQL is not installed; `make test` as root installs it.")
    return places[-1].parent


@contextmanager
def serving_postgres(*settings: str, kept: Path | None = None) -> Iterator[Postgres]:
    """A new cluster that answers, until the context ends; or the one in a folder where it is `kept`."""
    binaries = find_binaries()
    folder = kept or Path(tempfile.mkdtemp(prefix="dgpg", dir="/tmp"))
    try:
        if not (folder / "PG_VERSION").exists():
            _make(binaries, folder)
        with reserved_port() as port:
            server = Postgres(folder, binaries, port, settings)
            try:
                server.start()
                yield server
            finally:
                if server.process is not None and server.process.poll() is None:
                    server.process.send_signal(signal.SIGQUIT)
                    server.process.wait(TIMEOUT_S)
    finally:
        if kept is None:  # shutil takes many times as long
            subprocess.run(["rm", "-rf", folder], check=False)


def _make(binaries: Path, folder: Path) -> None:
    folder.mkdir(mode=0o700, exist_ok=True)
    if os.geteuid() == 0:
        shutil.chown(folder, USER, USER)
    command = [binaries / "initdb", "-D", folder, "-A", "trust", "-U", USER, "-E", "UTF8", "--locale=C.UTF-8", "-N"]
    subprocess.run(command, check=True, capture_output=True, timeout=4 * TIMEOUT_S, cwd="/", **_as_user())


def _as_user() -> dict[str, Any]:
    if os.geteuid() != 0:
        return {}
    user = pwd.getpwnam(USER)
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": [], "env": {"PATH": os.defpath}}
