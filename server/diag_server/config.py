"""What one viewer is told at start."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class ViewerConfig:
    """Where captures are, who may see them, and how much is accepted.

    `index_url` is an SQLAlchemy URL or the path of an SQLite file. `trace_url` holds `{trace_id}`.
    """

    store_url: str
    index_url: str
    store_token: str = ""
    tokens_file: Path | None = None
    trace_url: str = ""
    tenant: str = "default"
    incoming: Path | None = None  # where uploads are received; None: the system's folder for temporary files
    made: Path | None = None  # where what was made of profiles is kept; None: it is made anew each time
    max_artifact_bytes: int = 1024 * MIB
    max_manifest_bytes: int = 4 * MIB
    max_report_bytes: int = 16 * MIB
    max_profile_bytes: int = 64 * MIB
    max_made_bytes: int = 512 * MIB  # of all that is kept
    uploads: str = "presigned"  # or `through`: whether agents may go past the viewer, where the store can
    downloads: str = "streamed"  # or `presigned`: whether browsers are sent to the bucket
    url_valid_s: int = 600
    look_every_s: float = 1.0  # how old the last look into the store may be when a page is asked for
