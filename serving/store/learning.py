"""The tables of the learning half. As `tables.py`: prefix `strop_`, UTC, written by named queries.

import ──< example                     curated rows; an evaluation set's items are examples too
evaluation_set                         a dated, immutable revision of what a gate is judged on
review                                 a sampled inference, and what a person said of it
dataset ──< dataset_row                what a run learned from, frozen, with provenance
run ──< evaluation                     one attempt to train, and the scores it was judged by
decision                               every look at an alias: train, wait or nothing, and why
"""

from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import JSON, DateTime, Index, Text, UniqueConstraint
from sqlmodel import Field, SQLModel

from serving.store.tables import utc_now, word

_TIME: Any = DateTime(timezone=True)
_TEXT: Any = Text()
_JSON: Any = JSON()


class Split(StrEnum):
    """What an imported row is for."""

    TRAIN = "train"
    EVAL = "eval"


class Part(StrEnum):
    """Which part of a dataset a row is in."""

    TRAIN = "train"
    VALID = "valid"


class Source(StrEnum):
    """Where a training row comes from."""

    IMPORT = "import"
    CORRECTION = "correction"  # a reviewer's corrected answer
    REVIEWED = "reviewed"  # an answer that a reviewer found correct
    DEMONSTRATION = "demonstration"  # a user's, accepted by a reviewer


class Verdict(StrEnum):
    """A reviewer's judgement."""

    CORRECT = "correct"
    INCORRECT = "incorrect"


class Trigger(StrEnum):
    """Why a run was started."""

    QUALITY = "quality"
    PERIOD = "period"
    MANUAL = "manual"


class RunState(StrEnum):
    """queued -> training -> evaluating -> passed | rejected | failed | cancelled."""

    QUEUED = "queued"
    TRAINING = "training"
    EVALUATING = "evaluating"
    PASSED = "passed"
    REJECTED = "rejected"
    FAILED = "failed"
    CANCELLED = "cancelled"


ACTIVE = (RunState.QUEUED, RunState.TRAINING, RunState.EVALUATING)


class Action(StrEnum):
    """What a look at an alias came to."""

    TRAIN = "train"
    WAIT = "wait"
    NOTHING = "nothing"


class Import(SQLModel, table=True):
    """One file that was imported; `replaced_at` once a later one took its place."""

    __tablename__ = "strop_import"

    id: int | None = Field(default=None, primary_key=True)
    alias_id: int = Field(foreign_key="strop_alias.id", index=True)
    split: Split = Field(sa_type=word(Split))
    name: str = Field(sa_type=_TEXT)
    digest: str = Field(max_length=64)
    num_rows: int
    actor: str = Field(max_length=128)
    at: datetime = Field(default_factory=utc_now, sa_type=_TIME)
    replaced_at: datetime | None = Field(default=None, sa_type=_TIME)


class EvaluationSet(SQLModel, table=True):
    """One dated revision of an alias's evaluation items. Never changed."""

    __tablename__ = "strop_evaluation_set"
    __table_args__ = (UniqueConstraint("alias_id", "number", name="uq_strop_evaluation_number"),)

    id: int | None = Field(default=None, primary_key=True)
    alias_id: int = Field(foreign_key="strop_alias.id")
    number: int
    dated_at: datetime = Field(sa_type=_TIME)
    """The oldest item is at least this new."""
    num_items: int
    digest: str = Field(max_length=64)
    origin: str = Field(sa_type=_TEXT)
    """An import's file; `held back` where a build took it out of what would have trained."""
    created_at: datetime = Field(default_factory=utc_now, sa_type=_TIME)


class ExampleRow(SQLModel, table=True):
    """One curated row: for training, or an item of an evaluation set."""

    __tablename__ = "strop_example"

    id: int | None = Field(default=None, primary_key=True)
    alias_id: int = Field(foreign_key="strop_alias.id", index=True)
    import_id: int | None = Field(default=None, foreign_key="strop_import.id", index=True)
    evaluation_set_id: int | None = Field(
        default=None, foreign_key="strop_evaluation_set.id", index=True
    )
    position: int
    content: Any = Field(sa_type=_JSON)
    """The example as `retrain.examples` reads it."""
    content_hash: str = Field(max_length=32)
    at: datetime = Field(sa_type=_TIME)
    """When it was said; the import's time where the row does not tell."""


class Review(SQLModel, table=True):
    """A sampled inference, waiting for a person or judged by one."""

    __tablename__ = "strop_review"
    __table_args__ = (
        Index(
            "ix_strop_review_waiting", "alias_id", "begun_at", postgresql_where="verdict IS NULL"
        ),
    )

    inference_id: str = Field(primary_key=True, max_length=48)
    alias_id: int = Field(foreign_key="strop_alias.id")
    tenant: str = Field(max_length=64)
    begun_at: datetime = Field(sa_type=_TIME)
    """The inference's own time: finds its partition."""
    share: float
    """The probability with which it was sampled."""
    sampled_at: datetime = Field(default_factory=utc_now, sa_type=_TIME)
    claimed_by: str | None = Field(default=None, max_length=128)
    claimed_until: datetime | None = Field(default=None, sa_type=_TIME)
    reviewer: str | None = Field(default=None, max_length=128)
    verdict: Verdict | None = Field(default=None, sa_type=word(Verdict))
    corrected: str | None = Field(default=None, sa_type=_TEXT)
    """What the answer should have been, as the reviewer wrote or accepted it."""
    feedback_id: str | None = Field(default=None, max_length=32)
    """Whose demonstration the reviewer accepted; `corrected` holds its text as of then."""
    reviewed_at: datetime | None = Field(default=None, sa_type=_TIME)


class Dataset(SQLModel, table=True):
    """What a run learns from: frozen, hashed."""

    __tablename__ = "strop_dataset"

    id: int | None = Field(default=None, primary_key=True)
    alias_id: int = Field(foreign_key="strop_alias.id", index=True)
    digest: str = Field(max_length=64)
    num_train: int
    num_valid: int
    manifest: dict[str, Any] = Field(sa_type=_JSON)
    """Counts by source and by reason of dropping, hashes of the files, the evaluation set."""
    evaluation_set_id: int | None = Field(default=None, foreign_key="strop_evaluation_set.id")
    created_at: datetime = Field(default_factory=utc_now, sa_type=_TIME)


class DatasetRow(SQLModel, table=True):
    """Where one row of a dataset came from, and through whose hands."""

    __tablename__ = "strop_dataset_row"

    dataset_id: int = Field(primary_key=True, foreign_key="strop_dataset.id")
    position: int = Field(primary_key=True)
    part: Part = Field(sa_type=word(Part))
    source: Source = Field(sa_type=word(Source))
    source_id: str = Field(max_length=48)
    """An example's id, or an inference's."""
    content_hash: str = Field(max_length=32)
    rater: str | None = Field(default=None, sa_type=_TEXT)
    reviewer: str | None = Field(default=None, max_length=128)


class Run(SQLModel, table=True):
    """One attempt to train. An alias has one under way at most, and one for a period, ever."""

    __tablename__ = "strop_run"
    __table_args__ = (
        Index(
            "uq_strop_run_active",
            "alias_id",
            unique=True,
            postgresql_where="ended_at IS NULL",
        ),
        UniqueConstraint("alias_id", "period", name="uq_strop_run_period"),
    )

    id: int | None = Field(default=None, primary_key=True)
    alias_id: int = Field(foreign_key="strop_alias.id")
    trigger: Trigger = Field(sa_type=word(Trigger))
    period: str | None = Field(default=None, max_length=64)
    reason: str = Field(sa_type=_TEXT)
    actor: str = Field(max_length=128)
    state: RunState = Field(default=RunState.QUEUED, sa_type=word(RunState))
    fell_at: datetime | None = Field(default=None, sa_type=_TIME)
    """When quality was found to have fallen, for a run that quality asked for."""
    dataset_id: int | None = Field(default=None, foreign_key="strop_dataset.id")
    is_cancelled: bool = False
    """Somebody asked for its end; the worker brings it about."""
    handle: str | None = Field(default=None, sa_type=_TEXT)
    """The executor's name for the training process."""
    num_restarts: int = 0
    """How often in a row its trainer was lost and started again, and came no further."""
    furthest_step: int = 0
    """How far it had come when its trainer was lost, at best."""
    progress: dict[str, Any] = Field(default_factory=dict, sa_type=_JSON)
    release_id: int | None = Field(default=None, foreign_key="strop_release.id", index=True)
    verdict: dict[str, Any] | None = Field(default=None, sa_type=_JSON)
    champion_id: int | None = Field(default=None, foreign_key="strop_release.id")
    """The champion that the verdict holds the release against."""
    error: str | None = Field(default=None, sa_type=_TEXT)
    """Why it failed or was not promoted; while it is under way, what it waits for."""
    created_at: datetime = Field(default_factory=utc_now, sa_type=_TIME)
    started_at: datetime | None = Field(default=None, sa_type=_TIME)
    ended_at: datetime | None = Field(default=None, sa_type=_TIME)


class Evaluation(SQLModel, table=True):
    """The scores of one release on one evaluation set."""

    __tablename__ = "strop_evaluation"

    id: int | None = Field(default=None, primary_key=True)
    evaluation_set_id: int = Field(foreign_key="strop_evaluation_set.id")
    release_id: int = Field(foreign_key="strop_release.id", index=True)
    run_id: int | None = Field(default=None, foreign_key="strop_run.id", index=True)
    summary: dict[str, Any] = Field(sa_type=_JSON)
    scores: list[float] = Field(sa_type=_JSON)
    """One per item, in the set's order."""
    at: datetime = Field(default_factory=utc_now, sa_type=_TIME)


class Decision(SQLModel, table=True):
    """A look at an alias that came out otherwise than the look before.

    `last_*`: the newest look since that came out alike; it may know other numbers.
    """

    __tablename__ = "strop_decision"

    id: int | None = Field(default=None, primary_key=True)
    alias_id: int = Field(foreign_key="strop_alias.id", index=True)
    action: Action = Field(sa_type=word(Action))
    trigger: Trigger | None = Field(default=None, sa_type=word(Trigger))
    reason: str = Field(sa_type=_TEXT)
    evidence: dict[str, Any] = Field(sa_type=_JSON)
    last_reason: str = Field(sa_type=_TEXT)
    last_evidence: dict[str, Any] = Field(sa_type=_JSON)
    last_at: datetime = Field(sa_type=_TIME)
    run_id: int | None = Field(default=None, foreign_key="strop_run.id")
    at: datetime = Field(default_factory=utc_now, sa_type=_TIME)
