"""What the views of one application share."""

from __future__ import annotations

from dataclasses import dataclass

from flask import Flask, current_app
from sqlalchemy import Engine

from diag.model import Capture
from diag.upload import keys
from diag.upload.store import Signing, Store
from diag_server.agents import Agents
from diag_server.config import ViewerConfig
from diag_server.follow import Follower
from diag_server.index.upkeep import Mender
from diag_server.metrics import Tally
from diag_server.tokens import Tokens
from diag_server.workshop import Workshop


@dataclass(frozen=True, slots=True)
class Viewer:
    """One viewer: its store, its index, and what keeps the second up with the first."""

    app: Flask
    config: ViewerConfig
    store: Store
    engine: Engine
    mender: Mender
    follower: Follower
    agents: Agents
    workshop: Workshop
    uploads: Tally  # by the status that they were answered with
    tokens: Tokens

    @property
    def uploads_signed_by(self) -> Signing | None:
        """What signs uploads for agents, where they may go past us and the store can sign."""
        return self.store if self.config.uploads == "presigned" and isinstance(self.store, Signing) else None

    @property
    def downloads_signed_by(self) -> Signing | None:
        """What signs downloads for browsers, where they are to be."""
        return self.store if self.config.downloads == "presigned" and isinstance(self.store, Signing) else None

    def key_of(self, capture: Capture, name: str) -> str:
        """The key in the store of one of a capture's objects."""
        return keys.key(self.config.tenant, capture.capture_id, name)


def viewer() -> Viewer:
    """The viewer that answers this request."""
    found = current_app.extensions["diag"]
    assert isinstance(found, Viewer)
    return found
