"""Gets captures from the spool to the store while the agent lives, and hands the rest over when it ends."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from typing import TYPE_CHECKING

from diag.config import Settings
from diag.errors import DiagError

if TYPE_CHECKING:
    from diag.upload.uploader import Uploader

LOCAL_WAIT_S = 1.0
LAST_CHANCE_S = 1.5  # as PID 1 nothing of ours outlives the instance, so the upload gets this long


class Delivery:
    """Starts with the first capture, so that an instance that lives costs nothing."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._uploader: Uploader | None = None

    def wake(self) -> None:
        """There is something new in the spool."""
        if self._uploader is None:
            from diag.spool import Spool
            from diag.upload.stores import open_store
            from diag.upload.uploader import Uploader

            try:
                store = open_store(self._settings.store_url, self._settings.token)
                spool = Spool.of(self._settings)
            except DiagError:
                return  # `diag flush` and `diag doctor` say why; the capture waits in the spool
            self._uploader = Uploader(spool, store, self._settings.tenant)
            self._uploader.start()
        self._uploader.wake()

    def finish(self) -> None:
        """Stop; what is not stored yet goes on in a process of its own, so that nobody waits for a network."""
        if self._uploader is None:
            return
        local = self._settings.store_url.startswith("file:")
        last = os.getpid() == 1
        self._uploader.stop(deadline_s=LOCAL_WAIT_S if local else LAST_CHANCE_S if last else 0.0)
        if not last and not local:
            self._hand_over()

    def _hand_over(self) -> None:
        environment = {
            **os.environ,
            "DIAG_STORE": self._settings.store_url,
            "DIAG_SPOOL": str(self._settings.spool_dir),
        }
        if self._settings.token:
            environment["DIAG_TOKEN"] = self._settings.token
        # Where no process can be started, the captures wait in the spool for the next diag.
        with contextlib.suppress(OSError):
            subprocess.Popen(
                [sys.executable, "-m", "diag", "flush"],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
