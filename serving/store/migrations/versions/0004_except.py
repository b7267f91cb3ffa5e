"""What a key may ask that others may not, and the other way round."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.add_column("strop_key", sa.Column("exceptions", sa.JSON(), nullable=True))
