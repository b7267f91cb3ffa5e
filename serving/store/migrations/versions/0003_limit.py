"""What keys and aliases may use, and what they used."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.add_column("strop_key", sa.Column("aliases", sa.JSON(), nullable=True))
    op.execute("UPDATE strop_key SET aliases = json_build_array(alias) WHERE alias IS NOT NULL")
    op.drop_column("strop_key", "alias")
    for name in ("rpm", "tpm", "concurrency"):
        op.add_column("strop_key", sa.Column(name, sa.Integer(), nullable=True))
    op.add_column("strop_key", sa.Column("budget", sa.BigInteger(), nullable=True))
    op.add_column("strop_alias", sa.Column("budget", sa.BigInteger(), nullable=True))
    op.add_column("strop_inference", sa.Column("busy_ms", sa.Float(), nullable=True))
    op.create_table(
        "strop_usage",
        sa.Column("month", sa.Date(), nullable=False),
        sa.Column("key_id", sa.String(length=32), nullable=False),
        sa.Column("alias_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("pool", sa.String(length=63), nullable=False),
        sa.Column("tokens", sa.BigInteger(), nullable=False),
        sa.Column("busy_ms", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("month", "key_id", "alias_id", "pool"),
    )
