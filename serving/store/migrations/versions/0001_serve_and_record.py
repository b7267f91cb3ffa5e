"""What is served, and the record of it."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "strop_alias",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=63), nullable=False),
        sa.Column("is_shared", sa.Boolean(), nullable=False),
        sa.Column(
            "task",
            sa.Enum(
                "classify",
                "extract",
                "summarize",
                "json",
                "tools",
                "code",
                "chat",
                name="task",
                native_enum=False,
                length=32,
            ),
            nullable=False,
        ),
        sa.Column("champion_id", sa.Integer(), nullable=True),
        sa.Column("challenger_id", sa.Integer(), nullable=True),
        sa.Column("previous_id", sa.Integer(), nullable=True),
        sa.Column("canary_percent", sa.Float(), nullable=False),
        sa.Column("canary_revision", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("tenant", "name", name="uq_strop_alias_tenant_name"),
    )
    op.create_table(
        "strop_feedback",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("given_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("inference_id", sa.String(length=48), nullable=False),
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("rater", sa.Text(), nullable=False),
        sa.Column("key_id", sa.String(length=32), nullable=True),
        sa.Column(
            "rating",
            sa.Enum("up", "down", name="rating", native_enum=False, length=32),
            nullable=True,
        ),
        sa.Column("score", sa.Float(), nullable=True),
        sa.Column("comment", sa.Text(), nullable=True),
        sa.Column("demonstration", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", "given_at"),
    )
    op.create_index(
        op.f("ix_strop_feedback_inference_id"), "strop_feedback", ["inference_id"], unique=False
    )
    op.create_table(
        "strop_gateway_worker",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("host", sa.String(length=255), nullable=False),
        sa.Column("pid", sa.Integer(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("in_flight", sa.JSON(), nullable=False),
        sa.Column("proved", sa.JSON(), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "strop_inference",
        sa.Column("id", sa.String(length=48), nullable=False),
        sa.Column("begun_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("worker_id", sa.String(length=64), nullable=False),
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("key_id", sa.String(length=32), nullable=False),
        sa.Column("endpoint", sa.String(length=64), nullable=False),
        sa.Column("model", sa.String(length=256), nullable=False),
        sa.Column("alias_id", sa.Integer(), nullable=True),
        sa.Column("release_id", sa.Integer(), nullable=True),
        sa.Column("adapter", sa.String(length=128), nullable=True),
        sa.Column("adapter_digest", sa.String(length=64), nullable=True),
        sa.Column("pool", sa.String(length=63), nullable=False),
        sa.Column("replica", sa.String(length=256), nullable=True),
        sa.Column(
            "arm",
            sa.Enum(
                "champion", "challenger", "pinned", "base", name="arm", native_enum=False, length=32
            ),
            nullable=False,
        ),
        sa.Column("propensity", sa.Float(), nullable=False),
        sa.Column("canary_revision", sa.Integer(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=True),
        sa.Column("conversation", sa.Text(), nullable=True),
        sa.Column("is_streamed", sa.Boolean(), nullable=False),
        sa.Column("is_trainable", sa.Boolean(), nullable=False),
        sa.Column(
            "status",
            sa.Enum(
                "running",
                "ok",
                "refused",
                "upstream_error",
                "client_aborted",
                "interrupted",
                name="inferencestatus",
                native_enum=False,
                length=32,
            ),
            nullable=False,
        ),
        sa.Column("http_status", sa.Integer(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("request", sa.JSON(), nullable=False),
        sa.Column("response", sa.JSON(), nullable=True),
        sa.Column("is_truncated", sa.Boolean(), nullable=False),
        sa.Column("prompt_tokens", sa.Integer(), nullable=True),
        sa.Column("completion_tokens", sa.Integer(), nullable=True),
        sa.Column("first_token_ms", sa.Float(), nullable=True),
        sa.Column("inter_token_mean_ms", sa.Float(), nullable=True),
        sa.Column("inter_token_max_ms", sa.Float(), nullable=True),
        sa.Column("end_to_end_ms", sa.Float(), nullable=True),
        sa.PrimaryKeyConstraint("id", "begun_at"),
        postgresql_partition_by="RANGE (begun_at)",
    )
    op.create_index(
        "ix_strop_inference_alias_time", "strop_inference", ["alias_id", "begun_at"], unique=False
    )
    op.create_index(
        "ix_strop_inference_worker_running",
        "strop_inference",
        ["worker_id"],
        unique=False,
        postgresql_where="status = 'running'",
    )
    op.create_table(
        "strop_key",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=128), nullable=False),
        sa.Column(
            "role",
            sa.Enum("app", "reviewer", "ops", "admin", name="role", native_enum=False, length=32),
            nullable=False,
        ),
        sa.Column("alias", sa.String(length=63), nullable=True),
        sa.Column("no_log", sa.Boolean(), nullable=False),
        sa.Column("no_train", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("digest"),
    )
    op.create_table(
        "strop_replica",
        sa.Column("url", sa.String(length=256), nullable=False),
        sa.Column("pool", sa.String(length=63), nullable=False),
        sa.Column("is_healthy", sa.Boolean(), nullable=False),
        sa.Column("adapters", sa.JSON(), nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("url"),
    )
    op.create_table(
        "strop_revision",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("value", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "strop_segment",
        sa.Column("name", sa.String(length=128), nullable=False),
        sa.Column("worker_id", sa.String(length=64), nullable=False),
        sa.Column("num_bytes", sa.BigInteger(), nullable=False),
        sa.Column("num_records", sa.BigInteger(), nullable=False),
        sa.Column("num_torn_bytes", sa.BigInteger(), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_table(
        "strop_adapter",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("alias_id", sa.Integer(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=128), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("pool", sa.String(length=63), nullable=False),
        sa.Column("rank", sa.Integer(), nullable=False),
        sa.Column("num_bytes", sa.BigInteger(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["alias_id"],
            ["strop_alias.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("name"),
    )
    op.create_index(op.f("ix_strop_adapter_alias_id"), "strop_adapter", ["alias_id"], unique=False)
    op.create_table(
        "strop_release",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("alias_id", sa.Integer(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("pool", sa.String(length=63), nullable=False),
        sa.Column("adapter_id", sa.Integer(), nullable=True),
        sa.Column("system_prompt", sa.Text(), nullable=True),
        sa.Column("decoding", sa.JSON(), nullable=False),
        sa.Column(
            "state",
            sa.Enum(
                "candidate",
                "challenger",
                "champion",
                "retired",
                "rolled_back",
                name="releasestate",
                native_enum=False,
                length=32,
            ),
            nullable=False,
        ),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["adapter_id"],
            ["strop_adapter.id"],
        ),
        sa.ForeignKeyConstraint(
            ["alias_id"],
            ["strop_alias.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("alias_id", "number", name="uq_strop_release_number"),
    )
    op.create_table(
        "strop_promotion",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("alias_id", sa.Integer(), nullable=False),
        sa.Column("from_release_id", sa.Integer(), nullable=True),
        sa.Column("to_release_id", sa.Integer(), nullable=False),
        sa.Column("is_rollback", sa.Boolean(), nullable=False),
        sa.Column("is_forced", sa.Boolean(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("actor", sa.String(length=128), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["alias_id"],
            ["strop_alias.id"],
        ),
        sa.ForeignKeyConstraint(
            ["from_release_id"],
            ["strop_release.id"],
        ),
        sa.ForeignKeyConstraint(
            ["to_release_id"],
            ["strop_release.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(
        op.f("ix_strop_promotion_alias_id"), "strop_promotion", ["alias_id"], unique=False
    )
    for role in ("champion", "challenger", "previous"):
        op.create_foreign_key(
            f"fk_strop_alias_{role}", "strop_alias", "strop_release", [f"{role}_id"], ["id"]
        )
    op.execute("INSERT INTO strop_revision (id, value) VALUES (1, 0)")
