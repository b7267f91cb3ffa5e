"""Since when inferences are there, and ratings in the order of time in any language."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    op.add_column("strop_revision", sa.Column("purged_before", sa.Date(), nullable=True))
    op.create_index(
        "ix_strop_feedback_inference_time",
        "strop_feedback",
        ["inference_id"],
        unique=False,
        postgresql_ops={"inference_id": "varchar_pattern_ops"},
    )
