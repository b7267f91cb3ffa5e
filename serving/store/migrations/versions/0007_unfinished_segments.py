"""The few segments that are not finished, found without a look at all that ever were."""

from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.create_index(
        "ix_strop_segment_unfinished",
        "strop_segment",
        ["finished_at"],
        unique=False,
        postgresql_where="finished_at IS NULL",
    )
