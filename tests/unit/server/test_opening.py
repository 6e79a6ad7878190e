"""A database becomes an index: whose it is, which version, and what happens to one that cannot be used."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import deaths
import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from diag_server.entries import entry
from diag_server.errors import IndexOfAnother, IndexTooNew, IndexUnusable
from diag_server.index import counts, migrate, notes, read, write
from diag_server.index.opening import open_engine
from diag_server.index.place import shown, url_of
from diag_server.index.rows import Filter
from diag_server.index.schema import metadata
from diag_server.index.upkeep import Mender
from machine import TIMEOUT_S
from postgres import Postgres
from sqlalchemy import inspect, text
from sqlalchemy.exc import DBAPIError

JUNK = b"this is a text, which is no database at all\n" * 400


def filled(index_url: str, belongs_to: str = "a", **more: object) -> int:
    """Open the index, put one capture in, and say how many it had before."""
    engine = open_engine(index_url, belongs_to, **more)  # type: ignore[arg-type]
    try:
        had = len(write.ids(engine))
        write.add(engine, [entry(deaths.made(deaths.segfault()).capture, {})])
        return had
    finally:
        engine.dispose()


def test_migrations_make_the_tables_that_the_code_knows(index_url: str) -> None:
    """The schema of the code and the one that migrations lead to do not differ."""
    engine = open_engine(index_url, "a")
    with engine.connect() as connection:
        options = {
            "version_table": migrate.VERSION_TABLE,
            "include_name": lambda name, kind, _parents: kind != "table" or name in metadata.tables,
            "include_object": lambda _object, name, kind, _reflected, _other: name != "diag_texts_by_words",
        }
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, metadata) == []
    engine.dispose()


def test_an_index_is_kept_for_its_own_store(index_url: str) -> None:
    """Opened again it has what it had, and the same secret."""
    secrets = []
    for had in (0, 1):
        engine = open_engine(index_url, "a")
        secrets.append(notes.secret(engine))
        engine.dispose()
        assert filled(index_url) == had

    assert secrets[0] == secrets[1] and len(secrets[0]) == 64


def test_a_file_of_another_store_is_emptied(tmp_path: Path) -> None:
    """An SQLite index is made anew for another store or tenant."""
    path = str(tmp_path / "index.sqlite")

    assert [filled(path, "a"), filled(path, "b"), filled(path, "b")] == [0, 0, 1]


def test_a_database_of_another_store_is_refused(postgres: Postgres) -> None:
    """A database may have been named by mistake: it keeps what it has until somebody says that it may be emptied."""
    url = postgres.database()
    filled(url, "file:///a default")

    with pytest.raises(IndexOfAnother, match="file:///a default") as caught:
        open_engine(url, "file:///b default")

    assert "--reindex" in caught.value.help_text and "search_path" in caught.value.help_text
    assert filled(url, "file:///a default") == 1
    assert filled(url, "file:///b default", take_over=True) == 0


def test_two_stores_share_a_database_by_schemas(postgres: Postgres) -> None:
    """Each schema is an index of its own."""
    url = postgres.database()
    for name in ("one", "two"):
        postgres.run(f"CREATE SCHEMA {name}", url)

    for _ in range(2):
        for name in ("one", "two"):
            filled(f"{url}?options=-csearch_path%3D{name}", name)

    assert postgres.run(
        "SELECT (SELECT count(*) FROM one.diag_captures), (SELECT count(*) FROM two.diag_captures)", url
    ) == [(2, 2)]


def test_an_index_of_a_newer_diag_is_refused(index_url: str) -> None:
    """It is said, and left as it is."""
    filled(index_url)
    engine = open_engine(index_url, "a")
    with engine.begin() as connection:
        connection.execute(text(f"UPDATE {migrate.VERSION_TABLE} SET version_num = '9999'"))

    for belongs_to in ("a", "b"):
        with pytest.raises(IndexTooNew, match="newer diag"):
            open_engine(index_url, belongs_to, take_over=True)

    assert len(write.ids(engine)) == 1
    engine.dispose()


def test_an_index_from_before_migrations_is_built_anew(tmp_path: Path) -> None:
    """What the first version left is replaced, and read from the store again."""
    path = tmp_path / "index.sqlite"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE diag_captures (capture_id VARCHAR(36) PRIMARY KEY, words TEXT)")
        connection.execute("CREATE TABLE diag_meta (name VARCHAR(64) PRIMARY KEY, value TEXT)")
        connection.execute("CREATE VIRTUAL TABLE diag_search USING fts5(capture_id UNINDEXED, words)")
        connection.execute("INSERT INTO diag_meta VALUES ('marker', '1 file:///a default'), ('secret', 'x')")
    connection.close()

    assert filled(str(path), "file:///a default") == 0
    assert filled(str(path), "file:///a default") == 1
    engine = open_engine(str(path), "file:///a default")
    assert notes.walk(engine) == notes.Walk(notes.FIRST)
    engine.dispose()


def test_viewers_that_start_together_make_one_index(index_url: str) -> None:
    """Several processes open a new database at once: each gets it whole, and they share one secret."""
    script = (
        "import sys; from diag_server.index import notes; from diag_server.index.opening import open_engine;"
        "engine = open_engine(sys.argv[1], 'a'); print(notes.secret(engine)); engine.dispose()"
    )
    started = [
        subprocess.Popen([sys.executable, "-c", script, index_url], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for _ in range(4)
    ]
    answers = [one.communicate(timeout=4 * TIMEOUT_S) for one in started]

    assert [one.returncode for one in started] == [0] * 4, answers
    assert len({secret for secret, _ in answers}) == 1


def test_somebody_elses_tables_are_left_alone(index_url: str) -> None:
    """A database that holds other tables keeps them, whatever their names, also when ours are made anew."""
    engine = open_engine(index_url, "a")
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE captures (mine TEXT)"))
        connection.execute(text("INSERT INTO captures VALUES ('x')"))

    open_engine(index_url, "b", take_over=True).dispose()

    with engine.connect() as connection:
        assert connection.scalar(text("SELECT mine FROM captures")) == "x"
        assert all(name.startswith("diag_") for name in set(inspect(connection).get_table_names()) - {"captures"})
    engine.dispose()


def test_the_file_is_private(tmp_path: Path) -> None:
    """The index and what stands beside it are readable by their owner only."""
    engine = open_engine(str(tmp_path / "new" / "index.sqlite"), "a")
    engine.dispose()

    assert (tmp_path / "new").stat().st_mode & 0o077 == 0
    assert all(path.stat().st_mode & 0o077 == 0 for path in (tmp_path / "new").iterdir())


def test_a_file_that_is_no_database_is_set_aside(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A wrong file is moved, not changed, and said; a new index stands in its place."""
    path = tmp_path / "index.sqlite"
    for _ in range(2):
        path.write_bytes(JUNK)
        assert filled(str(path)) == 0

    aside = list(tmp_path.glob("index.sqlite.*.old"))
    assert [one.read_bytes() for one in aside] == [JUNK, JUNK]
    assert all(str(one) in caplog.text for one in aside)


def test_somebody_elses_file_is_left_alone(tmp_path: Path) -> None:
    """A slip in --index moves no file away that was never an index, and writes nothing into it."""
    path = tmp_path / "passwd"
    path.write_bytes(JUNK)

    with pytest.raises(IndexUnusable, match="no SQLite file") as caught:
        open_engine(str(path), "a")

    assert "--index" in caught.value.help_text
    assert [(one.name, one.read_bytes()) for one in tmp_path.iterdir()] == [("passwd", JUNK)]


def test_an_index_of_any_name_is_set_aside(tmp_path: Path) -> None:
    """What says that it is SQLite was one, whatever it is called."""
    path = tmp_path / "index.db"
    path.write_bytes(b"SQLite format 3\0" + JUNK)

    assert filled(str(path)) == 0
    assert len(list(tmp_path.glob("index.db.*.old"))) == 1


def test_a_damaged_page_is_found_at_the_start(tmp_path: Path) -> None:
    """A file whose first page is right and whose others are not is set aside before anybody reads it."""
    path = tmp_path / "index.sqlite"
    filled(str(path))
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xa5" * (path.stat().st_size - 4096))

    assert filled(str(path)) == 0
    assert len(list(tmp_path.glob("index.sqlite.*.old"))) == 1


def test_damage_while_it_is_used_is_mended_once(tmp_path: Path) -> None:
    """Whoever meets the damage first puts a new file there; others that met it too use that one. The secret stays."""
    path = str(tmp_path / "index.sqlite")
    filled(path)
    engine = open_engine(path, "a")
    mender, secret = Mender(engine, path, "a"), notes.secret(engine)
    engine.dispose()
    Path(path).write_bytes(JUNK)
    began = time.monotonic()

    with pytest.raises(DBAPIError) as caught:
        read.find(engine, Filter())
    assert mender.mend(caught.value, began)
    assert mender.mend(caught.value, began)

    assert len(list(tmp_path.glob("index.sqlite.*.old"))) == 1
    assert (write.ids(engine), notes.secret(engine)) == (set(), secret)
    engine.dispose()


def test_what_is_no_damage_is_not_mended(tmp_path: Path) -> None:
    """A mistake in a statement, or a full disk, moves no file."""
    path = str(tmp_path / "index.sqlite")
    engine = open_engine(path, "a")

    with pytest.raises(DBAPIError) as caught, engine.connect() as connection:
        connection.execute(text("SELECT nothing FROM nowhere"))

    assert not Mender(engine, path, "a").mend(caught.value, time.monotonic())
    assert list(tmp_path.glob("*.old")) == []
    engine.dispose()


WRONG = [
    "nonsense://x",
    "://",
    "/dev/null/index.sqlite",
    "sqlite:////dev/null/x",
    "postgresql://u:secret@127.0.0.1:1/x",
]


@pytest.mark.parametrize("index", WRONG)
def test_an_index_that_cannot_be_opened_is_refused(index: str) -> None:
    """A wrong URL, a wrong place, or a database that does not answer is one sentence, without the password."""
    with pytest.raises(IndexUnusable) as caught:
        open_engine(index, "a")

    assert "secret" not in str(caught.value)
    assert caught.value.help_text


def test_a_postgresql_url_is_opened_with_psycopg() -> None:
    """The URL that people know needs no driver in it."""
    assert url_of("postgresql://u@h/d").drivername == "postgresql+psycopg"
    assert shown("postgresql://u:secret@h/d") == "postgresql://h/d"


def test_text_search_goes_on_without_the_extension(postgres: Postgres) -> None:
    """Where pg_trgm may not be made, every row is read instead: the same is found."""
    user = f"u{time.monotonic_ns()}"
    postgres.run(f"CREATE ROLE {user} LOGIN")
    url = postgres.database()
    postgres.run("CREATE SCHEMA catalogue", url)
    postgres.run(f"GRANT ALL ON SCHEMA catalogue TO {user}", url)
    restricted = url.replace("postgres@", f"{user}@") + "?options=-csearch_path%3Dcatalogue"

    filled(restricted)

    engine = open_engine(restricted, "a")
    assert len(read.find(engine, Filter(q="rice_o")).captures) == 1
    assert counts.kinds(engine) == {"crash": 1}
    assert postgres.run("SELECT * FROM pg_extension WHERE extname = 'pg_trgm'", url) == []
    engine.dispose()
