"""What was learned, from what, and why."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.add_column(
        "strop_alias",
        sa.Column("schedule", sa.String(length=64), nullable=False, server_default="quarterly"),
    )
    op.add_column(
        "strop_alias",
        sa.Column("time_zone", sa.String(length=64), nullable=False, server_default="UTC"),
    )
    op.add_column(
        "strop_alias",
        sa.Column("is_paused", sa.Boolean(), nullable=False, server_default=sa.false()),
    )
    op.add_column("strop_inference", sa.Column("review_share", sa.Float(), nullable=True))
    op.create_index(
        "ix_strop_inference_unsampled",
        "strop_inference",
        ["begun_at"],
        unique=False,
        postgresql_where="review_share IS NULL AND status = 'ok' AND alias_id IS NOT NULL",
    )
    op.create_table(
        "strop_evaluation_set",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("alias_id", sa.Integer(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("dated_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("num_items", sa.Integer(), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("origin", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["alias_id"], ["strop_alias.id"]),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("alias_id", "number", name="uq_strop_evaluation_number"),
    )
    op.create_table(
        "strop_import",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("alias_id", sa.Integer(), nullable=False),
        sa.Column(
            "split",
            sa.Enum("train", "eval", name="split", native_enum=False, length=32),
            nullable=False,
        ),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("num_rows", sa.Integer(), nullable=False),
        sa.Column("actor", sa.String(length=128), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("replaced_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["alias_id"], ["strop_alias.id"]),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(op.f("ix_strop_import_alias_id"), "strop_import", ["alias_id"], unique=False)
    op.create_table(
        "strop_review",
        sa.Column("inference_id", sa.String(length=48), nullable=False),
        sa.Column("alias_id", sa.Integer(), nullable=False),
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("begun_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("share", sa.Float(), nullable=False),
        sa.Column("sampled_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("claimed_by", sa.String(length=128), nullable=True),
        sa.Column("claimed_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("reviewer", sa.String(length=128), nullable=True),
        sa.Column(
            "verdict",
            sa.Enum("correct", "incorrect", name="verdict", native_enum=False, length=32),
            nullable=True,
        ),
        sa.Column("corrected", sa.Text(), nullable=True),
        sa.Column("feedback_id", sa.String(length=32), nullable=True),
        sa.Column("reviewed_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["alias_id"], ["strop_alias.id"]),
        sa.PrimaryKeyConstraint("inference_id"),
    )
    op.create_index(
        "ix_strop_review_waiting",
        "strop_review",
        ["alias_id", "begun_at"],
        unique=False,
        postgresql_where="verdict IS NULL",
    )
    op.create_table(
        "strop_dataset",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("alias_id", sa.Integer(), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("num_train", sa.Integer(), nullable=False),
        sa.Column("num_valid", sa.Integer(), nullable=False),
        sa.Column("manifest", sa.JSON(), nullable=False),
        sa.Column("evaluation_set_id", sa.Integer(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["alias_id"], ["strop_alias.id"]),
        sa.ForeignKeyConstraint(["evaluation_set_id"], ["strop_evaluation_set.id"]),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(op.f("ix_strop_dataset_alias_id"), "strop_dataset", ["alias_id"], unique=False)
    op.create_table(
        "strop_example",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("alias_id", sa.Integer(), nullable=False),
        sa.Column("import_id", sa.Integer(), nullable=True),
        sa.Column("evaluation_set_id", sa.Integer(), nullable=True),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("content", sa.JSON(), nullable=False),
        sa.Column("content_hash", sa.String(length=32), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["alias_id"], ["strop_alias.id"]),
        sa.ForeignKeyConstraint(["evaluation_set_id"], ["strop_evaluation_set.id"]),
        sa.ForeignKeyConstraint(["import_id"], ["strop_import.id"]),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(op.f("ix_strop_example_alias_id"), "strop_example", ["alias_id"], unique=False)
    op.create_index(
        op.f("ix_strop_example_evaluation_set_id"),
        "strop_example",
        ["evaluation_set_id"],
        unique=False,
    )
    op.create_index(
        op.f("ix_strop_example_import_id"), "strop_example", ["import_id"], unique=False
    )
    op.create_table(
        "strop_dataset_row",
        sa.Column("dataset_id", sa.Integer(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column(
            "part",
            sa.Enum("train", "valid", name="part", native_enum=False, length=32),
            nullable=False,
        ),
        sa.Column(
            "source",
            sa.Enum(
                "import",
                "correction",
                "reviewed",
                "demonstration",
                name="source",
                native_enum=False,
                length=32,
            ),
            nullable=False,
        ),
        sa.Column("source_id", sa.String(length=48), nullable=False),
        sa.Column("content_hash", sa.String(length=32), nullable=False),
        sa.Column("rater", sa.Text(), nullable=True),
        sa.Column("reviewer", sa.String(length=128), nullable=True),
        sa.ForeignKeyConstraint(["dataset_id"], ["strop_dataset.id"]),
        sa.PrimaryKeyConstraint("dataset_id", "position"),
    )
    op.create_table(
        "strop_run",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("alias_id", sa.Integer(), nullable=False),
        sa.Column(
            "trigger",
            sa.Enum("quality", "period", "manual", name="trigger", native_enum=False, length=32),
            nullable=False,
        ),
        sa.Column("period", sa.String(length=64), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("actor", sa.String(length=128), nullable=False),
        sa.Column(
            "state",
            sa.Enum(
                "queued",
                "training",
                "evaluating",
                "passed",
                "rejected",
                "failed",
                "cancelled",
                name="runstate",
                native_enum=False,
                length=32,
            ),
            nullable=False,
        ),
        sa.Column("fell_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("dataset_id", sa.Integer(), nullable=True),
        sa.Column("is_cancelled", sa.Boolean(), nullable=False),
        sa.Column("handle", sa.Text(), nullable=True),
        sa.Column("num_restarts", sa.Integer(), nullable=False),
        sa.Column("progress", sa.JSON(), nullable=False),
        sa.Column("release_id", sa.Integer(), nullable=True),
        sa.Column("verdict", sa.JSON(), nullable=True),
        sa.Column("champion_id", sa.Integer(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["alias_id"], ["strop_alias.id"]),
        sa.ForeignKeyConstraint(["dataset_id"], ["strop_dataset.id"]),
        sa.ForeignKeyConstraint(["release_id"], ["strop_release.id"]),
        sa.ForeignKeyConstraint(["champion_id"], ["strop_release.id"]),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("alias_id", "period", name="uq_strop_run_period"),
    )
    op.create_index(
        "uq_strop_run_active",
        "strop_run",
        ["alias_id"],
        unique=True,
        postgresql_where="ended_at IS NULL",
    )
    op.create_index(op.f("ix_strop_run_release_id"), "strop_run", ["release_id"], unique=False)
    op.create_table(
        "strop_decision",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("alias_id", sa.Integer(), nullable=False),
        sa.Column(
            "action",
            sa.Enum("train", "wait", "nothing", name="action", native_enum=False, length=32),
            nullable=False,
        ),
        sa.Column(
            "trigger",
            sa.Enum("quality", "period", "manual", name="trigger", native_enum=False, length=32),
            nullable=True,
        ),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("evidence", sa.JSON(), nullable=False),
        sa.Column("run_id", sa.Integer(), nullable=True),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["alias_id"], ["strop_alias.id"]),
        sa.ForeignKeyConstraint(["run_id"], ["strop_run.id"]),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(
        op.f("ix_strop_decision_alias_id"), "strop_decision", ["alias_id"], unique=False
    )
    op.create_table(
        "strop_evaluation",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("evaluation_set_id", sa.Integer(), nullable=False),
        sa.Column("release_id", sa.Integer(), nullable=False),
        sa.Column("run_id", sa.Integer(), nullable=True),
        sa.Column("summary", sa.JSON(), nullable=False),
        sa.Column("scores", sa.JSON(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["evaluation_set_id"], ["strop_evaluation_set.id"]),
        sa.ForeignKeyConstraint(["release_id"], ["strop_release.id"]),
        sa.ForeignKeyConstraint(["run_id"], ["strop_run.id"]),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(
        op.f("ix_strop_evaluation_release_id"), "strop_evaluation", ["release_id"], unique=False
    )
    op.create_index(
        op.f("ix_strop_evaluation_run_id"), "strop_evaluation", ["run_id"], unique=False
    )
