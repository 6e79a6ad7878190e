"""`diag serve` as a user types it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import deaths
import pytest
from machine import TIMEOUT_S
from viewers import running

from diag.cli.serve import serve as command


def serve(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """`diag serve` that is expected to refuse."""
    return subprocess.run(
        [sys.executable, "-m", "diag", "serve", *arguments],
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        env={**os.environ, **environ},
        check=False,
    )


def sentences(done: subprocess.CompletedProcess[str]) -> str:
    assert "Traceback" not in done.stderr
    assert done.stderr.startswith("diag: ")
    assert len(done.stderr.splitlines()) <= 3
    return done.stderr


def test_it_shows_what_agents_on_this_machine_wrote(home: Path) -> None:
    """With nothing configured it reads the local store, old captures and new ones, without being told."""
    old = deaths.write(deaths.made(deaths.killed()), home / "store")

    with running(home / "store") as viewer:
        assert [one["capture_id"] for one in viewer.get("api/v1/captures").json()["captures"]] == [old.id]
        new = deaths.write(deaths.made(deaths.segfault()), home / "store")
        ends = time.monotonic() + TIMEOUT_S
        while viewer.get(f"captures/{new.id}").status_code != 200:
            assert time.monotonic() < ends


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_ends_quietly(home: Path, number: signal.Signals) -> None:
    """Ctrl-C and SIGTERM end it with 0 and not a word, also with an open connection."""
    with running(home / "store") as viewer:
        assert viewer.get("healthz").json() == {"status": "ok"}
        os.killpg(viewer.process.pid, number)

        assert viewer.process.wait(TIMEOUT_S) == 0
        assert viewer.process.stderr is not None
        assert viewer.process.stderr.read() == b""


def test_it_leaves_no_process_and_no_file_behind(home: Path) -> None:
    """After it ended, its index is all that is left in the home folder."""
    with running(home / "store") as viewer:
        viewer.deliver(deaths.made(deaths.segfault()))
        os.kill(viewer.process.pid, signal.SIGTERM)
        viewer.process.wait(TIMEOUT_S)

        with pytest.raises(ProcessLookupError):
            os.killpg(viewer.process.pid, 0)
    state = home / ".local" / "state" / "diag"
    assert {path.parent.name for path in state.rglob("*") if path.is_file()} == {"index"}
    assert not (home / ".gunicorn").exists()


def test_a_port_in_use_is_a_sentence(home: Path) -> None:
    """Exit 1, and what to do."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = serve("--port", str(taken.getsockname()[1]))

    assert done.returncode == 1
    assert "in use" in sentences(done) and "--port" in done.stderr


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7"])
def test_others_reach_it_only_with_tokens(home: Path, host: str) -> None:
    """Without tokens it refuses to listen for other machines."""
    done = serve("--host", host, "--port", "0")

    assert done.returncode == 2
    assert "--tokens" in sentences(done)


@pytest.mark.parametrize("content", ["boss t-1\n", "viewer\n", ""])
def test_a_wrong_tokens_file_stops_the_start(home: Path, content: str) -> None:
    """An unknown role is named; nothing listens."""
    (home / "tokens").write_text(content)

    for arguments, environ in (
        (("--tokens", str(home / "tokens")), {}),
        ((), {"DIAG_TOKENS_FILE": str(home / "tokens")}),
    ):
        done = serve("--port", "0", *arguments, **environ)
        assert done.returncode == 2
        assert "tokens" in sentences(done) and "t-1" not in done.stderr


def test_an_index_that_is_no_database_is_built_again(home: Path) -> None:
    """The wrong file is kept aside and said; every capture comes back from the store alone, without being asked."""
    index = home / "index.sqlite"
    index.write_text("this is not a database, it is a text that somebody kept here\n" * 20)
    made = deaths.write(deaths.made(deaths.segfault()), home / "store")

    with running(home / "store", "--index", str(index)) as viewer:
        rebuilt = viewer.get("api/v1/captures").json()["captures"]

    assert [one["capture_id"] for one in rebuilt] == [made.id]
    assert [path.read_text()[:4] for path in home.glob("index.sqlite.*.old")] == ["this"]


def test_a_database_that_does_not_answer_is_a_sentence(home: Path) -> None:
    """Exit 1 with the reason, and without the password."""
    done = serve("--port", "0", "--index", "postgresql://diag:geheim@127.0.0.1:1/diag")

    assert done.returncode == 1
    assert "cannot be used" in sentences(done) and "geheim" not in done.stderr


def test_a_rebuilt_index_answers_the_same(home: Path) -> None:
    """Every list answers the same before and after the index was deleted."""
    for one in (deaths.segfault(), deaths.exception(), deaths.killed(), deaths.live(), deaths.stopped()):
        deaths.write(deaths.made(one), home / "store")
    paths = ("api/v1/captures", "api/v1/groups", "api/v1/instances", "api/v1/captures?q=price_of")
    answers = []
    for _ in range(2):
        with running(home / "store", "--index", str(home / "index.sqlite")) as viewer:
            answers.append([viewer.get(path).json() for path in paths])
        for path in home.glob("index.sqlite*"):
            path.unlink()

    assert answers[0] == answers[1]
    assert len(answers[0][0]["captures"]) == 5


def test_a_trace_url_without_a_place_for_the_id_is_refused(home: Path) -> None:
    """A template that cannot work is said at the start."""
    done = serve("--port", "0", "--trace-url", "https://tempo.example/")

    assert done.returncode == 2
    assert "{trace_id}" in sentences(done)


def test_a_store_that_does_not_exist_yet_is_empty(home: Path) -> None:
    """The viewer may be started before the first crash."""
    with running(home / "later") as viewer:
        (home / "later").rmdir()
        assert viewer.get("").status_code == 200


@pytest.mark.parametrize("missing", ["alembic", "flask", "sqlalchemy", "gunicorn"])
def test_without_its_dependencies_it_says_what_to_install(home: Path, missing: str) -> None:
    """Where the extra is not installed the command says so, with exit code 4."""
    hidden = (
        f"import sys; sys.modules[{missing!r}] = None; from diag.__main__ import main; sys.argv = ['diag', 'serve']"
    )
    done = subprocess.run(
        [sys.executable, "-c", f"{hidden}; sys.exit(main())"],
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )

    assert done.returncode == 4
    assert "pip install 'diag[server]'" in sentences(done) and missing in done.stderr


def test_every_option_is_documented() -> None:
    """docs/viewer.md names each option and variable of the command."""
    text = (Path(__file__).parents[3] / "docs" / "viewer.md").read_text()

    for option in command.params:
        assert f"`{option.opts[-1]}`" in text
        assert not option.envvar or f"`{option.envvar}`" in text
