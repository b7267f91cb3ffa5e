"""Tables of what is served and recorded; those of access and learning have files of their own.

Names carry the prefix `strop_`; times are UTC.

alias ──< release >── adapter          what is served, and everything that was
  └────< promotion                     every flip of a champion: who, why, from, to
key, usage                             who may call, and how much was: see access.py
inference ──< feedback                 what was asked, answered, and said about it
segment                                how far each journal segment has been read
gateway_worker, replica                what the processes last said of themselves
revision                               one row: the number of the newest catalogue, and what was purged
"""

from datetime import UTC, date, datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    DateTime,
    Enum,
    ForeignKey,
    Index,
    Text,
    UniqueConstraint,
)
from sqlmodel import Field, SQLModel

from serving.types import Arm, InferenceStatus, Rating, ReleaseState, Task

_TIME: Any = DateTime(timezone=True)
_TEXT: Any = Text()
_BIG: Any = BigInteger()
# JSON, not JSONB: it keeps the bytes it was given, \u0000 and lone surrogates included.
_JSON: Any = JSON()


def utc_now() -> datetime:
    """Return the time, aware, UTC."""
    return datetime.now(UTC)


def word(kind: type[StrEnum]) -> Any:
    """Store an enumeration as its word: a new member needs no migration."""
    return Enum(
        kind,
        native_enum=False,
        length=32,
        create_constraint=False,
        values_callable=lambda members: [member.value for member in members],
    )


def _release_pointer(constraint: str) -> Any:
    """Point from an alias to one of its releases, which point back: added after both exist."""
    return Column(ForeignKey("strop_release.id", use_alter=True, name=constraint), nullable=True)


class Revision(SQLModel, table=True):
    """One row: the number of the newest catalogue. Whoever changes the catalogue raises it."""

    __tablename__ = "strop_revision"

    id: int = Field(default=1, primary_key=True)
    value: int = Field(default=0, sa_type=_BIG)
    purged_before: date | None = None
    """Inferences of earlier UTC days were purged, whether they are gone yet or not."""


class Alias(SQLModel, table=True):
    """A name that clients put into `model`."""

    __tablename__ = "strop_alias"
    __table_args__ = (UniqueConstraint("tenant", "name", name="uq_strop_alias_tenant_name"),)

    id: int | None = Field(default=None, primary_key=True)
    tenant: str = Field(max_length=64)
    name: str = Field(max_length=63)
    is_shared: bool = False
    task: Task = Field(sa_type=word(Task))
    champion_id: int | None = Field(
        default=None, sa_column=_release_pointer("fk_strop_alias_champion")
    )
    challenger_id: int | None = Field(
        default=None, sa_column=_release_pointer("fk_strop_alias_challenger")
    )
    previous_id: int | None = Field(
        default=None, sa_column=_release_pointer("fk_strop_alias_previous")
    )
    """The champion before this one, kept loaded: a rollback needs no load."""
    canary_percent: float = 0
    canary_revision: int = 0
    """Raised with every change of the share, so that callers are dealt anew."""
    schedule: str = Field(default="quarterly", max_length=64)
    """When a period turns: see retrain.periods."""
    time_zone: str = Field(default="UTC", max_length=64)
    is_paused: bool = False
    """Whether learning is: nothing is trained by itself, and answers go on."""
    budget: int | None = Field(default=None, sa_type=_BIG)
    """Tokens a month, whoever calls; None: as many as come."""
    created_at: datetime = Field(default_factory=utc_now, sa_type=_TIME)


class Adapter(SQLModel, table=True):
    """One trained LoRA: immutable, content-addressed, in the folder of its name."""

    __tablename__ = "strop_adapter"

    id: int | None = Field(default=None, primary_key=True)
    alias_id: int = Field(foreign_key="strop_alias.id", index=True)
    version: int
    name: str = Field(unique=True, max_length=128)
    """`<alias>-v<N>-<digest8>`: the folder, and the name that engines know it by."""
    digest: str = Field(max_length=64)
    """SHA-256 of the manifest, which holds the SHA-256 of every file."""
    pool: str = Field(max_length=63)
    rank: int
    num_bytes: int = Field(sa_type=_BIG)
    source: str = Field(sa_type=_TEXT)
    """Where it came from, for people: an import's folder, or a training run."""
    created_at: datetime = Field(default_factory=utc_now, sa_type=_TIME)


class Release(SQLModel, table=True):
    """What an alias serves: pool, adapter or none, system prompt, decoding defaults."""

    __tablename__ = "strop_release"
    __table_args__ = (UniqueConstraint("alias_id", "number", name="uq_strop_release_number"),)

    id: int | None = Field(default=None, primary_key=True)
    alias_id: int = Field(foreign_key="strop_alias.id")
    number: int
    pool: str = Field(max_length=63)
    adapter_id: int | None = Field(default=None, foreign_key="strop_adapter.id")
    system_prompt: str | None = Field(default=None, sa_type=_TEXT)
    decoding: dict[str, Any] = Field(default_factory=dict, sa_type=_JSON)
    """Request fields used where the client sends none, such as `temperature`."""
    state: ReleaseState = Field(default=ReleaseState.CANDIDATE, sa_type=word(ReleaseState))
    created_at: datetime = Field(default_factory=utc_now, sa_type=_TIME)


class Promotion(SQLModel, table=True):
    """A flip of an alias's champion; history, never changed."""

    __tablename__ = "strop_promotion"

    id: int | None = Field(default=None, primary_key=True)
    alias_id: int = Field(foreign_key="strop_alias.id", index=True)
    from_release_id: int | None = Field(default=None, foreign_key="strop_release.id")
    to_release_id: int = Field(foreign_key="strop_release.id")
    is_rollback: bool = False
    is_forced: bool = False
    reason: str = Field(sa_type=_TEXT)
    actor: str = Field(max_length=128)
    """Who asked: a key's id, or `console` for the command on this machine."""
    revision: int = Field(sa_type=_BIG)
    """The catalogue that this flip made."""
    at: datetime = Field(default_factory=utc_now, sa_type=_TIME)


class Inference(SQLModel, table=True):
    """One request and its answer. Partitioned by day of `begun_at`, which the id itself tells."""

    __tablename__ = "strop_inference"
    __table_args__ = (
        Index("ix_strop_inference_alias_time", "alias_id", "begun_at"),
        Index(
            "ix_strop_inference_worker_running", "worker_id", postgresql_where="status = 'running'"
        ),
        Index(
            "ix_strop_inference_unsampled",
            "begun_at",
            postgresql_where="review_share IS NULL AND status = 'ok' AND alias_id IS NOT NULL",
        ),
        {"postgresql_partition_by": "RANGE (begun_at)"},
    )

    id: str = Field(primary_key=True, max_length=48)
    begun_at: datetime = Field(primary_key=True, sa_type=_TIME)
    worker_id: str = Field(max_length=64)
    tenant: str = Field(max_length=64)
    key_id: str = Field(max_length=32)
    endpoint: str = Field(max_length=64)
    model: str = Field(max_length=256)
    """What the client wrote into `model`."""
    alias_id: int | None = None
    release_id: int | None = None
    adapter: str | None = Field(default=None, max_length=128)
    adapter_digest: str | None = Field(default=None, max_length=64)
    pool: str = Field(max_length=63)
    replica: str | None = Field(default=None, max_length=256)
    arm: Arm = Field(sa_type=word(Arm))
    propensity: float
    canary_revision: int = 0
    subject: str | None = Field(default=None, sa_type=_TEXT)
    """The `user` field: whom the request is about, and the unit of erasure."""
    conversation: str | None = Field(default=None, sa_type=_TEXT)
    is_streamed: bool
    is_trainable: bool
    status: InferenceStatus = Field(sa_type=word(InferenceStatus))
    http_status: int | None = None
    error: str | None = Field(default=None, sa_type=_TEXT)
    request: Any = Field(sa_type=_JSON)
    response: Any = Field(default=None, sa_type=_JSON, nullable=True)
    """The answer as the client could read it; a stream is put together, a partial one too."""
    is_truncated: bool = False
    """Whether `response` is less than the client got, because it was too long to record."""
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    busy_ms: float | None = None
    """Its share of the replica's time, where that has a price."""
    review_share: float | None = None
    """The probability with which it was dealt to reviewers or not; None: not yet considered."""
    first_token_ms: float | None = None
    inter_token_mean_ms: float | None = None
    inter_token_max_ms: float | None = None
    end_to_end_ms: float | None = None


class Feedback(SQLModel, table=True):
    """A signal on an inference. One rater's later row supersedes the earlier; history stays."""

    __tablename__ = "strop_feedback"
    __table_args__ = (
        # Byte by byte, which is in the order of time: for what is too old to be kept.
        Index(
            "ix_strop_feedback_inference_time",
            "inference_id",
            postgresql_ops={"inference_id": "varchar_pattern_ops"},
        ),
    )

    id: str = Field(primary_key=True, max_length=32)
    """Hash of (inference, rater): what a client's retry gets back unchanged."""
    given_at: datetime = Field(primary_key=True, sa_type=_TIME)
    inference_id: str = Field(index=True, max_length=48)
    tenant: str = Field(max_length=64)
    rater: str = Field(sa_type=_TEXT)
    key_id: str | None = Field(default=None, max_length=32)
    """None: given with nothing but the signed id."""
    rating: Rating | None = Field(default=None, sa_type=word(Rating))
    score: float | None = None
    comment: str | None = Field(default=None, sa_type=_TEXT)
    demonstration: str | None = Field(default=None, sa_type=_TEXT)


class Segment(SQLModel, table=True):
    """How far one journal segment has been ingested."""

    __tablename__ = "strop_segment"
    __table_args__ = (
        # Every gateway worker asks for these once a second, and finished ones stay for good.
        Index("ix_strop_segment_unfinished", "finished_at", postgresql_where="finished_at IS NULL"),
    )

    name: str = Field(primary_key=True, max_length=128)
    worker_id: str = Field(max_length=64)
    num_bytes: int = Field(default=0, sa_type=_BIG)
    num_records: int = Field(default=0, sa_type=_BIG)
    num_torn_bytes: int = Field(default=0, sa_type=_BIG)
    """Bytes after the last whole record, left by a worker killed in the middle of a write."""
    finished_at: datetime | None = Field(default=None, sa_type=_TIME)


class GatewayWorker(SQLModel, table=True):
    """What a gateway worker last said of itself."""

    __tablename__ = "strop_gateway_worker"

    id: str = Field(primary_key=True, max_length=64)
    host: str = Field(max_length=255)
    pid: int
    revision: int = Field(sa_type=_BIG)
    in_flight: dict[str, int] = Field(default_factory=dict, sa_type=_JSON)
    """Adapter name -> requests now running on it."""
    proved: dict[str, list[str]] = Field(default_factory=dict, sa_type=_JSON)
    """Replica URL -> adapter names this worker has proved there."""
    started_at: datetime = Field(default_factory=utc_now, sa_type=_TIME)
    seen_at: datetime = Field(default_factory=utc_now, sa_type=_TIME)
    """By the database's clock."""


class Replica(SQLModel, table=True):
    """What the reconciler last saw of an engine."""

    __tablename__ = "strop_replica"

    url: str = Field(primary_key=True, max_length=256)
    pool: str = Field(max_length=63)
    is_healthy: bool
    adapters: list[str] = Field(default_factory=list, sa_type=_JSON)
    error: str | None = Field(default=None, sa_type=_TEXT)
    seen_at: datetime = Field(default_factory=utc_now, sa_type=_TIME)
    """By the database's clock."""
