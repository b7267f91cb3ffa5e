"""Alembic's entry: runs on the connection that `store.schema` hands over."""

import sqlmodel
from alembic import context

from serving.store import access as _access  # noqa: F401 - completes the metadata
from serving.store import learning as _learning  # noqa: F401
from serving.store import tables as _tables  # noqa: F401
from serving.store.schema import is_ours

connection = context.config.attributes["connection"]
context.configure(
    connection=connection,
    target_metadata=sqlmodel.SQLModel.metadata,
    version_table="strop_schema",
    include_name=is_ours,
    transaction_per_migration=True,
)
with context.begin_transaction():
    context.run_migrations()
