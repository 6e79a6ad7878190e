"""How many deaths a capture stands for: those of a crash loop that were counted and not kept."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

WHOLE = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Add the column; what was captured before stands for itself."""
    op.add_column("diag_captures", sa.Column("repeats", WHOLE, nullable=False, server_default="0"))
