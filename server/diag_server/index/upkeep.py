"""What an index needs now and then: a count from scratch, statistics for the planner, a new file for a damaged one."""

from __future__ import annotations

import logging
import threading
import time

from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError

from diag_server.errors import IndexUnusable
from diag_server.index import notes, tally
from diag_server.index.opening import is_damage, open_engine, replace
from diag_server.index.place import file_of

log = logging.getLogger(__name__)

ANALYSED_ROWS = 1000  # of each SQLite index; enough to tell a kind from an instance


def recount(engine: Engine) -> None:
    """Count everything anew, in one transaction."""
    with engine.begin() as connection:
        tally.recount(connection)


def learn(engine: Engine) -> None:
    """Let the database look at what it holds, so that it chooses the right index."""
    with engine.begin() as connection:
        if engine.dialect.name == "sqlite":
            connection.execute(text(f"PRAGMA analysis_limit={ANALYSED_ROWS}"))
        connection.execute(text("ANALYZE"))


class Mender:
    """Puts a new file in the place of one that turns out to be damaged while it is used; the engine stays the same."""

    def __init__(self, engine: Engine, index_url: str, belongs_to: str) -> None:
        self._engine, self._index_url, self._belongs_to = engine, index_url, belongs_to
        self._path = file_of(index_url)
        self._secret = notes.secret(engine)  # sessions outlive the file
        self._lock = threading.Lock()
        self._mended_at = 0.0

    def mend(self, error: DBAPIError, since: float) -> bool:
        """Whether the error was damage, and the index is empty but whole now.

        `since` is the `time.monotonic` at which what failed began: it may have met a file that was mended meanwhile.
        """
        if self._path is None or not is_damage(error):
            return False
        with self._lock:
            if since > self._mended_at:
                try:
                    replace(self._path, error)
                    self._engine.dispose()
                    open_engine(self._index_url, self._belongs_to, secret=self._secret).dispose()
                except (OSError, IndexUnusable) as trouble:
                    log.error("The index cannot be built again: %s", trouble)
                    return False
                self._mended_at = time.monotonic()
            return True
