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
        self._uploaders: list[Uploader] = []  # one a spool

    def wake(self) -> None:
        """There is something new in the spool."""
        if not self._uploaders:
            from diag.spool import spools
            from diag.upload.stores import open_store
            from diag.upload.uploader import Uploader

            try:
                store = open_store(self._settings.store_url, self._settings.token)
            except DiagError:
                return  # `diag flush` and `diag doctor` say why; the capture waits in the spool
            self._uploaders = [Uploader(spool, store, self._settings.tenant) for spool in spools(self._settings)]
            for uploader in self._uploaders:
                uploader.start()
        for uploader in self._uploaders:
            uploader.wake()

    def finish(self) -> None:
        """Stop; what is not stored yet goes on in a process of its own, so that nobody waits for a network."""
        if not self._uploaders:
            return
        local = self._settings.store_url.startswith("file:")
        last = os.getpid() == 1
        for uploader in self._uploaders:
            uploader.stop(deadline_s=LOCAL_WAIT_S if local else LAST_CHANCE_S if last else 0.0)
        if not last and not local:
            self._hand_over()

    def _hand_over(self) -> None:
        environment = {
            **os.environ,
            "DIAG_STORE": self._settings.store_url,
            "DIAG_SPOOL": str(self._settings.spool_dir),
            "DIAG_SPOOL_SECOND": str(self._settings.spool_second_dir),
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
