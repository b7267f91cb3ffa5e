"""What the last of several looks at an alias knew that came out alike."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    for column in (
        sa.Column("last_reason", sa.Text(), nullable=True),
        sa.Column("last_evidence", sa.JSON(), nullable=True),
        sa.Column("last_at", sa.DateTime(timezone=True), nullable=True),
    ):
        op.add_column("strop_decision", column)
    op.execute(
        "UPDATE strop_decision SET last_reason = reason, last_evidence = evidence, last_at = at"
    )
    for name in ("last_reason", "last_evidence", "last_at"):
        op.alter_column("strop_decision", name, nullable=False)
