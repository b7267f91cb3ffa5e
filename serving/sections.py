"""The tables of strop.toml: every key, its default and its bounds."""

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from serving.errors import ConfigurationError
from serving.target import parse_target
from serving.types import NAME_PATTERN, Affinity, PoolKind


def check_rank(rank: int) -> int:
    """Refuse ranks that vLLM does not know (config/lora.py)."""
    known = (1, 8, 16, 32, 64, 128, 256, 320, 512)
    if rank not in known:
        raise ValueError(f"max_lora_rank must be one of {known}")
    return rank


def expand_user(name: str) -> str:
    """Put the user's own folder for a leading `~`, as a shell would have."""
    if not name.startswith("~"):
        return name
    try:
        return str(Path(name).expanduser())
    except RuntimeError as error:
        raise ValueError(f"{name}: {error}") from error


def check_engine_url(url: str) -> str:
    """Refuse what a path cannot be put behind, or no request can go to."""
    try:
        parse_target(url)
    except ConfigurationError as error:
        raise ValueError(error.message) from error
    if "?" in url or "#" in url:
        raise ValueError("An engine's address has no query and no fragment.")
    return url


Port = Annotated[int, Field(ge=1, le=65535)]
LoraRank = Annotated[int, AfterValidator(check_rank)]
BaseModelName = Annotated[str, AfterValidator(expand_user)]
"""A folder, or a hub name."""
EngineUrl = Annotated[str, AfterValidator(check_engine_url)]


class Section(BaseModel):
    """A table of strop.toml."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class GatewaySettings(Section):
    """Where and how the HTTP side listens."""

    host: str = "127.0.0.1"
    port: Port = 8080
    workers: int = Field(1, ge=1, le=64)
    max_body_bytes: int = Field(10 * 2**20, ge=1024)
    notice_seconds: float = Field(0, ge=0)
    """How long, told to stop, it is not ready any more and yet serves: a load balancer's look."""
    drain_seconds: float = Field(30, ge=0)
    patience_seconds: float = Field(30, ge=2)
    """A worker that was well and has not moved for so long is replaced; a single one ends."""
    first_byte_seconds: float = Field(120, gt=0)
    """From a request to its stream's first byte."""
    answer_seconds: float = Field(600, gt=0)
    """From a request that is not streamed to its answer, of which an engine sends nothing before its
    end. OpenAI's clients wait for so long."""
    idle_seconds: float = Field(60, gt=0)
    """Silence of an engine, or of a client that takes nothing, after which it counts as gone."""
    ping_seconds: float | None = Field(None, gt=0)
    """Silence of an engine after which a stream's client gets a comment; None: it gets none."""
    head_seconds: float = Field(10, gt=0)
    body_seconds: float = Field(30, gt=0)
    feedback_max_age_days: float = Field(90, gt=0)
    feedback_per_minute: int = Field(600, ge=1)
    """Ratings without a key (a browser widget) that a host takes a minute and caller."""
    cors_origins: tuple[str, ...] = ("*",)
    """Origins whose pages may post feedback with nothing but a signed id."""
    otlp_endpoint: str = Field("", pattern=r"^(https?://\S+)?$")
    """A collector that takes traces, OTLP over HTTP, such as http://127.0.0.1:4318; empty: none."""

    @property
    def near_url(self) -> str:
        """The address under which this machine reaches the gateway."""
        everywhere = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - compared, not bound
        host = everywhere.get(self.host, self.host)
        return f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"


class PoolTraits(Section):
    """What is said of a pool in [[pools]], and of the only one in [engine], its short form."""

    base_model: BaseModelName = ""
    """A folder or a hub name for `vllm`; the upstream's own model name for `openai`."""
    served_name: str = "base"
    """The name under which clients reach the pool's base model."""
    urls: tuple[EngineUrl, ...] = ()
    """Replicas that somebody else runs, without /v1. Empty: they are started here."""
    args: tuple[str, ...] = ()
    max_loras: int = Field(4, ge=1, le=8)
    max_lora_rank: LoraRank = 16
    max_in_flight: int = Field(1024, ge=1)
    """Requests that a replica gets at once, each gateway worker's even share of them; more wait in
    the gateway. See `routing`."""
    price_per_gpu_hour: float | None = Field(None, gt=0)
    """In any currency; tokens then have a cost in metrics and `strop status`."""
    gpus: int = Field(1, ge=1)
    """GPUs that one replica takes: what the price is multiplied with."""


class EngineSettings(PoolTraits):
    """The single-pool short form, and what holds for engines started here."""

    port: Port = 8100
    """First loopback port of the engines started here; replica i takes port + i."""
    kv_cache_gib: float = Field(1.0, gt=0)
    """KV cache of a CPU engine, GiB. A GPU engine takes `gpu_memory_utilization`."""
    gpu_memory_utilization: float = Field(0.9, gt=0, le=1)
    start_seconds: float = Field(900, gt=0)
    """How long a start may take before it counts as failed."""
    patience_seconds: float = Field(120, gt=0)
    """An engine started here that was well and has not answered for so long is killed, and started
    again."""


class PoolSettings(PoolTraits):
    """A group of replicas that serve one base model."""

    name: str = Field(pattern=f"^{NAME_PATTERN}$")
    kind: PoolKind = PoolKind.VLLM
    replicas: int = Field(1, ge=1, le=64)
    """How many are started here."""
    adapter_root: str = ""
    """The folder that remote engines know as ours: maps STROP_HOME/adapters onto it."""
    api_key_env: str = ""
    """Name of the environment variable that holds the key of an `openai` upstream."""

    @property
    def price_per_hour(self) -> float | None:
        """What one replica costs; None: nobody has said."""
        return None if self.price_per_gpu_hour is None else self.gpus * self.price_per_gpu_hour

    @property
    def is_launched_here(self) -> bool:
        """Whether `strop up` starts this pool's engines."""
        return self.kind is PoolKind.VLLM and not self.urls


class RoutingSettings(Section):
    """Which replica answers, and what happens when none has room."""

    affinity: Affinity = Affinity.NONE
    """`session`: requests of one `x-strop-conversation`, else of one `user`, go to one replica, whose
    prefix cache knows them, while that is at most a quarter busier than the others."""
    queue_size: int = Field(256, ge=0)
    """Requests that may wait for room, for each pool and gateway worker."""
    queue_seconds: float = Field(10, gt=0)
    """The longest wait. Who would wait longer, as things go, gets 503 at once."""
    eject_after: int = Field(5, ge=1)
    """Failures in a row after which a replica gets no traffic, if another one can take it."""
    eject_seconds: float = Field(2, gt=0)
    """For how long, at first; then one request tries it, and each further failure doubles this."""


class StoreSettings(Section):
    """The database: embedded unless a server is named."""

    url: str = ""
    """postgresql://user:password@host/name of a server; empty: embedded under STROP_HOME."""
    retention_days: int | None = Field(None, ge=1, le=36_500)
    """How long requests, answers and ratings are kept, by whole UTC days; None: for ever."""


class JournalSettings(Section):
    """The record of traffic before it reaches the database."""

    segment_bytes: int = Field(64 * 2**20, ge=4096)
    max_bytes: int = Field(4 * 2**30, ge=2**20)
    """Above this much unread journal, new logged requests get 503."""
    durability: str = Field("process", pattern="^(process|power)$")
    """`process` survives kill -9; `power` adds a group fdatasync and survives a power cut."""
    reserve_bytes: int = Field(8 * 2**20, ge=0)
    """Set aside by each gateway worker on the journal's disk: when that is full, new logged requests
    get 503, and those under way are still recorded."""
    max_record_bytes: int = Field(16 * 2**20, ge=2**16, le=64 * 2**20)
    """A longer answer is cut and marked; a longer request gets 413."""


class WorkerSettings(Section):
    """How often the worker looks, and where it tells how ingest goes."""

    ingest_seconds: float = Field(0.5, gt=0)
    reconcile_seconds: float = Field(2.0, gt=0)
    metrics_host: str = "127.0.0.1"
    metrics_port: Port | None = None
    """Where the worker answers /metrics for Prometheus; None: nowhere."""


class LearningSettings(Section):
    """When an alias is retrained, and on how much.

    The numbers are judgements. Where 15 in 100 users are always unhappy, one look at 100 ratings
    finds more than a quarter down by chance 3 times in 1,000 (binomial tail). But the worker looks
    again and again at a window that slides, and what fell once has fallen until a promotion: with
    100 ratings a week that happens by chance in 18 of 100 quarters, with 200 in 1 (2,000 simulated).
    It costs a training; the gate decides. The others keep an alias from being retrained on next to
    nothing, or every day.
    """

    check_seconds: float = Field(60, gt=0)
    """How often the worker looks at every alias."""
    window_hours: float = Field(7 * 24, gt=0)
    """Ratings of this long back count."""
    max_down_share: float = Field(0.25, gt=0, lt=1)
    """Thumbs-down among ratings above which quality counts as fallen."""
    min_ratings: int = Field(100, ge=1)
    min_examples: int = Field(1000, ge=1)
    """Training rows after cleaning, below which no training begins."""
    min_new_examples: int = Field(200, ge=0)
    min_fresh_items: int = Field(300, ge=1)
    """Evaluation items dated after the fall that a run asked for by quality is judged on."""
    cooldown_days: float = Field(7, ge=0)
    review_share: float = Field(0.10, ge=0.10, le=1)
    """Share of answers that people are asked to judge; never under a tenth."""
    claim_minutes: float = Field(15, gt=0)
    """How long a review handed out waits for its verdict before somebody else gets it."""


class TrainSettings(Section):
    """What runs a training, and what it may take."""

    command: str = "python -m retrain.train {spec}"
    max_at_once: int = Field(1, ge=1)
    """Trainers that run at a time; runs beyond that stand in line."""
    memory_gib: float | None = Field(None, gt=0)
    """Main memory; None: 6 GiB beside the base's weights, which are known if it is a folder."""
    gpu_memory_gib: float | None = Field(None, gt=0)
    threads: int | None = Field(None, ge=1)
    """Threads that compute; None: one less than the machine has cores, one at least."""
    nice: int = Field(10, ge=0, le=19)
