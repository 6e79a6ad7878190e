"""Gets captures from the spool to the store: into a folder by a thread here, over a network by another process."""

from __future__ import annotations

import os
import threading
import time
from typing import TYPE_CHECKING

from diag.config import Settings
from diag.errors import DiagError

if TYPE_CHECKING:
    from diag.upload.uploader import Uploader

LOCAL_WAIT_S = 1.0
LAST_CHANCE_S = 1.5  # as PID 1 nothing of ours outlives the instance, so the upload gets this long
LOOK_S = 0.05


class Delivery:
    """Starts with the first capture, so that an instance that lives costs nothing."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._local = settings.store_url.startswith("file:")
        self._uploaders: list[Uploader] = []  # one a spool
        self._woken = False
        self._waking = threading.Lock()  # the recorder wakes us, and whoever asks for a flush

    def wake(self) -> None:
        """There is something new in the spool."""
        self._woken = True
        if self._local:
            with self._waking:
                self._wake_threads()
        else:
            from diag.upload.background import ensure

            ensure(self._settings)

    def settle(self, deadline: float) -> str | None:
        """Send what waits until `time.monotonic()` is `deadline`; why something waits on, None where nothing does."""
        from diag.upload.background import waits

        if waits(self._settings):
            self.wake()
        while waits(self._settings):
            if time.monotonic() >= deadline:
                return self._why_not()
            time.sleep(LOOK_S)
        return None

    def _why_not(self) -> str:
        from diag.spool import spools
        from diag.upload import status

        troubles = [str(uploader.trouble) for uploader in self._uploaders if uploader.trouble]
        told = status.read(status.place(spools(self._settings)))
        return next(iter(troubles), told.trouble if told else "") or "The time was up before everything was stored."

    def finish(self) -> None:
        """The instance has ended. A process goes on by itself, so nobody waits for a network; threads end with us."""
        for uploader in self._uploaders:
            uploader.stop(deadline_s=LOCAL_WAIT_S)
        if self._woken and not self._local and os.getpid() == 1:
            self._wait_until_sent(time.monotonic() + LAST_CHANCE_S)

    def _wake_threads(self) -> None:
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

    def _wait_until_sent(self, deadline: float) -> None:
        from diag.upload.background import waits

        while time.monotonic() < deadline and waits(self._settings):
            time.sleep(LOOK_S)
