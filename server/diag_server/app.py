"""The application: one call makes it, everything it needs hangs on it."""

from __future__ import annotations

from flask import Flask

from diag.upload.stores import open_store
from diag_server import access, answers, shown
from diag_server.agents import Agents
from diag_server.config import ViewerConfig
from diag_server.follow import Follower
from diag_server.index.notes import secret
from diag_server.index.opening import open_engine
from diag_server.index.upkeep import Mender
from diag_server.metrics import Tally
from diag_server.state import Viewer
from diag_server.tokens import read_tokens
from diag_server.views import (
    agents,
    api,
    captures,
    differences,
    groups,
    instances,
    login,
    notes,
    objects,
    overview,
    pins,
    profiles,
    requests,
    traces,
    uploads,
)
from diag_server.workshop import Workshop

BLUEPRINTS = (
    overview.blueprint,
    groups.blueprint,
    captures.blueprint,
    profiles.blueprint,
    differences.blueprint,
    instances.blueprint,
    agents.blueprint,
    requests.blueprint,
    traces.blueprint,
    login.blueprint,
    objects.blueprint,
    uploads.blueprint,
    notes.blueprint,
    pins.blueprint,
    api.blueprint,
)


def create_app(config: ViewerConfig, *, take_over: bool = False) -> Flask:
    """The viewer of one store and tenant; `take_over` lets it empty a database that is another store's index.

    Raises BadTokens, IndexUnusable, and what opening the store raises.
    """
    tokens = read_tokens(config.tokens_file)
    store = open_store(config.store_url, config.store_token)
    belongs_to = f"{store.url} {config.tenant}"
    engine = open_engine(config.index_url, belongs_to, take_over=take_over)
    mender = Mender(engine, config.index_url, belongs_to)
    app = Flask(__name__)
    follower = Follower(store, engine, config, mender)
    agents_seen = Agents(store, config.tenant, config.look_every_s)
    app.extensions["diag"] = Viewer(
        app, config, store, engine, mender, follower, agents_seen, Workshop(store, config), Tally(), tokens
    )
    _configure(app, secret(engine))
    answers.register(app)
    app.before_request(access.guard)
    shown.register(app)
    for blueprint in BLUEPRINTS:
        app.register_blueprint(blueprint)
    return app


def _configure(app: Flask, key: str) -> None:
    app.secret_key = key
    app.session_interface = access.Sessions()
    app.config.update(
        SESSION_COOKIE_NAME="diag_session",
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SAMESITE="Strict",
        SEND_FILE_MAX_AGE_DEFAULT=300,
    )
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True
    # A key with `//` is a wrong key, not another address of a right one.
    app.url_map.merge_slashes = False
