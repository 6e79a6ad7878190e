"""`diag serve`: the viewer, in a browser."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from diag import config
from diag.config import Settings
from diag.errors import ToolMissing, UsageError

if TYPE_CHECKING:
    from diag_server.config import ViewerConfig

F = TypeVar("F", bound=Callable[..., Any])


def _one_of(name: str, default: str, other: str, meaning: str) -> Callable[[F], F]:
    """An option with one of two words."""
    return click.option(name, type=click.Choice((default, other)), default=default, show_default=True, help=meaning)


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on; others need --tokens.")
@click.option("--port", default=8321, show_default=True, type=click.IntRange(0, 65535), help="0 takes a free one.")
@click.option("--store", help="Where the captures are [DIAG_STORE; the local store].")
@click.option("--index", envvar="DIAG_INDEX", help="SQLite file or database URL of the index [in the state folder].")
@click.option(
    "--tokens", envvar="DIAG_TOKENS_FILE", type=click.Path(path_type=Path), help="File of `role token` lines."
)
@click.option("--trace-url", help="Link of a trace, with {trace_id} [DIAG_TRACE_URL].")
@_one_of("--uploads", "presigned", "through", "Whether agents get signed URLs of the bucket, where the store is one.")
@_one_of("--downloads", "streamed", "presigned", "Whether browsers get files from the viewer or from the bucket.")
@click.option(
    "--url-minutes",
    default=10,
    show_default=True,
    type=click.IntRange(1, 60),
    help="How long a signed URL can be used.",
)
@click.option("--reindex", is_flag=True, help="Read every capture anew into the index, while it is shown.")
@click.option("--threads", default=8, show_default=True, type=click.IntRange(1, 256), help="Requests answered at once.")
def serve(
    host: str,
    port: int,
    store: str | None,
    index: str | None,
    tokens: Path | None,
    trace_url: str | None,
    uploads: str,
    downloads: str,
    url_minutes: int,
    reindex: bool,
    threads: int,
) -> int:
    """Show what was caught as pages in a browser, and take captures in from other machines.

    \b
    Examples:
      diag serve                                     what was caught on this machine
      diag serve --host 0.0.0.0 --tokens tokens.txt  for others, who need a token
      diag serve --trace-url 'https://tempo.example/trace/{trace_id}'
      diag serve --reindex                           read every capture anew, while pages are shown

    Agents elsewhere deliver with DIAG_STORE=http://this-host:8321 and DIAG_TOKEN set to a token with the role agent.
    """
    settings = config.load({"store": store, "trace_url": trace_url})
    if settings.trace_url and "{trace_id}" not in settings.trace_url:
        raise UsageError(
            f"The trace URL {settings.trace_url!r} has no {{trace_id}} in it.",
            "Say where the id belongs: --trace-url 'https://tempo.example/trace/{trace_id}'.",
        )
    viewer = replace(
        _viewer_config(settings, index, tokens), uploads=uploads, downloads=downloads, url_valid_s=url_minutes * 60
    )
    return _serve(viewer, host, port, threads, reindex)


def _serve(viewer: ViewerConfig, host: str, port: int, threads: int, reindex: bool) -> int:
    try:
        from diag_server import serving
        from diag_server.app import create_app
    except ModuleNotFoundError as error:
        raise _not_installed(error) from error
    if viewer.tokens_file is None and not serving.is_loopback(host):
        raise UsageError(
            f"Without tokens the viewer listens on this machine only, not on {host}.",
            "Give --tokens FILE (or DIAG_TOKENS_FILE) with a `role token` line, or leave --host out.",
        )
    with serving.listen(host, port) as listener:
        app = create_app(viewer, take_over=reindex)
        app.extensions["diag"].follower.begin(again=reindex)
        return serving.run(app, listener, threads, lambda address: _say(f"viewer at {address}"))


def _viewer_config(settings: Settings, index: str | None, tokens: Path | None) -> ViewerConfig:
    try:
        from diag_server.config import ViewerConfig
    except ModuleNotFoundError as error:
        raise _not_installed(error) from error
    return ViewerConfig(
        store_url=settings.store_url,
        store_token=settings.token,
        index_url=index or str(_default_index(settings)),
        tokens_file=tokens,
        trace_url=settings.trace_url,
        tenant=settings.tenant,
        incoming=settings.state_dir / "incoming",
        made=settings.state_dir / "made",
    )


def _default_index(settings: Settings) -> Path:
    # One index a store and tenant: viewers of two stores must not rebuild each other's index in turns.
    name = hashlib.sha256(f"{settings.store_url} {settings.tenant}".encode()).hexdigest()[:12]
    return settings.state_dir / "index" / f"{name}.sqlite"


def _not_installed(error: ModuleNotFoundError) -> ToolMissing:
    return ToolMissing(f"The viewer is not installed: {error.name} is missing.", "pip install 'diag[server]'")


def _say(sentence: str) -> None:
    print(f"diag: {sentence}", file=sys.stderr, flush=True)
