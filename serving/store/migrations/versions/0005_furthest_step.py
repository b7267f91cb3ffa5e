"""How far a run had come when its trainer was last lost."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.add_column(
        "strop_run", sa.Column("furthest_step", sa.Integer(), nullable=False, server_default="0")
    )
    op.alter_column("strop_run", "furthest_step", server_default=None)
