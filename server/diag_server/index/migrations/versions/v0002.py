"""The newest of a fingerprint, whatever their kinds: without it a group of 100,000 captures is read to its end."""

from __future__ import annotations

from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Make the index."""
    op.create_index("diag_captures_by_group", "diag_captures", ["fingerprint", "number"])
