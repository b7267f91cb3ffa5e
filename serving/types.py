"""Domain words as values: enumerations shared by every room, and what a name is.

It imports nothing of ours.
"""

from enum import StrEnum

NAME_PATTERN = r"[a-z0-9][a-z0-9._-]{0,62}"
"""Of aliases and pools: they stand in folders' names, URLs and labels of metrics."""


class Role(StrEnum):
    """What a key or a person may do."""

    APP = "app"  # call /v1
    REVIEWER = "reviewer"  # judge sampled answers
    OPS = "ops"  # change aliases and releases, read everything
    ADMIN = "admin"  # all of it, and make keys; may also call /v1


class Task(StrEnum):
    """What an alias is for; it decides which metrics are computed."""

    CLASSIFY = "classify"
    EXTRACT = "extract"
    SUMMARIZE = "summarize"
    JSON = "json"
    TOOLS = "tools"
    CODE = "code"
    CHAT = "chat"


class PoolKind(StrEnum):
    """What answers behind a pool of replicas."""

    VLLM = "vllm"  # vLLM with run-time LoRA, started here or given by URL
    OPENAI = "openai"  # any OpenAI-compatible upstream; it serves no adapters


class Affinity(StrEnum):
    """What keeps requests at one replica of several."""

    NONE = "none"  # nothing: the least busy one answers
    SESSION = "session"  # their conversation, else their user


class ReleaseState(StrEnum):
    """Where a release stands behind its alias."""

    CANDIDATE = "candidate"  # known, serves nothing
    CHALLENGER = "challenger"  # loaded, serves its canary share
    CHAMPION = "champion"  # serves the alias
    RETIRED = "retired"  # was champion, replaced by a newer one
    ROLLED_BACK = "rolled_back"  # was champion, taken back


class Arm(StrEnum):
    """Which side of a canary served an inference."""

    CHAMPION = "champion"
    CHALLENGER = "challenger"
    PINNED = "pinned"  # the caller named the release
    BASE = "base"  # the caller named the pool's base model


class Rating(StrEnum):
    """A thumb."""

    UP = "up"
    DOWN = "down"


class InferenceStatus(StrEnum):
    """How an inference ended."""

    RUNNING = "running"  # begun; its gateway worker is alive
    OK = "ok"  # answered to the last byte
    REFUSED = "refused"  # the engine refused the request (4xx); passed on as it was
    UPSTREAM_ERROR = "upstream_error"  # the engine failed or went away
    CLIENT_ABORTED = "client_aborted"  # the client went away first
    INTERRUPTED = "interrupted"  # the gateway worker died or left in the middle
