"""Configuration: `strop.toml`, every key of it overridable as `STROP_SECTION__KEY`.

Precedence, highest first: environment, file, defaults. An unknown key is refused by name.
"""

import os
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from serving.errors import ConfigurationError
from serving.types import PoolKind

DEFAULT_CONFIG = Path("strop.toml")

Port = Annotated[int, Field(ge=1, le=65535)]


class Section(BaseModel):
    """A table of strop.toml."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class GatewaySettings(Section):
    """Where and how the HTTP side listens."""

    host: str = "127.0.0.1"
    port: Port = 8080
    workers: int = Field(1, ge=1, le=64)
    max_body_bytes: int = Field(10 * 2**20, ge=1024)
    drain_seconds: float = Field(30, ge=0)
    first_byte_seconds: float = Field(120, gt=0)
    idle_seconds: float = Field(60, gt=0)
    body_seconds: float = Field(30, gt=0)
    feedback_max_age_days: float = Field(90, gt=0)
    feedback_per_minute: int = Field(600, ge=1)
    """Ratings a minute and client address that carry no key (a browser widget)."""
    cors_origins: tuple[str, ...] = ("*",)
    """Origins whose pages may post feedback with nothing but a signed id."""

    @property
    def near_url(self) -> str:
        """The address under which this machine reaches the gateway."""
        everywhere = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}  # noqa: S104 - compared, not bound
        return f"http://{everywhere.get(self.host, self.host)}:{self.port}"


class EngineSettings(Section):
    """The single-pool short form, and what holds for engines started here."""

    base_model: str = ""
    served_name: str = "base"
    urls: tuple[str, ...] = ()
    port: Port = 8100
    """First loopback port of the engines started here; replica i takes port + i."""
    kv_cache_gib: float = Field(1.0, gt=0)
    """KV cache of a CPU engine, GiB. A GPU engine takes `gpu_memory_utilization`."""
    gpu_memory_utilization: float = Field(0.9, gt=0, le=1)
    start_seconds: float = Field(900, gt=0)
    """How long a start may take before it counts as failed."""
    args: tuple[str, ...] = ()
    max_loras: int = Field(4, ge=1, le=8)
    max_lora_rank: int = 16


class PoolSettings(Section):
    """A group of replicas that serve one base model."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,62}$")
    kind: PoolKind = PoolKind.VLLM
    base_model: str = ""
    """A folder or a hub name for `vllm`; the upstream's own model name for `openai`."""
    served_name: str = "base"
    """The name under which clients reach the pool's base model."""
    replicas: int = Field(1, ge=1, le=64)
    urls: tuple[str, ...] = ()
    """Replicas that somebody else runs, without /v1. Empty: `replicas` are started here."""
    adapter_root: str = ""
    """The folder that remote engines know as ours: maps STROP_HOME/adapters onto it."""
    api_key_env: str = ""
    """Name of the environment variable that holds the key of an `openai` upstream."""
    args: tuple[str, ...] = ()
    max_loras: int = Field(4, ge=1, le=8)
    max_lora_rank: int = 16

    @field_validator("max_lora_rank")
    @classmethod
    def check_rank(cls, rank: int) -> int:
        """Refuse ranks that vLLM does not know (config/lora.py)."""
        known = (1, 8, 16, 32, 64, 128, 256, 320, 512)
        if rank not in known:
            raise ValueError(f"max_lora_rank must be one of {known}")
        return rank

    @property
    def is_launched_here(self) -> bool:
        """Whether `strop up` starts this pool's engines."""
        return self.kind is PoolKind.VLLM and not self.urls


class StoreSettings(Section):
    """The database: embedded unless a server is named."""

    url: str = ""
    """postgresql://user:password@host/name of a server; empty: embedded under STROP_HOME."""


class JournalSettings(Section):
    """The record of traffic before it reaches the database."""

    segment_bytes: int = Field(64 * 2**20, ge=4096)
    max_bytes: int = Field(4 * 2**30, ge=2**20)
    """Above this much unread journal, new logged requests get 503."""
    durability: str = Field("process", pattern="^(process|power)$")
    """`process` survives kill -9; `power` adds a group fdatasync and survives a power cut."""
    max_record_bytes: int = Field(16 * 2**20, ge=2**16, le=64 * 2**20)
    """A longer answer is cut and marked; a longer request gets 413."""


class WorkerSettings(Section):
    """How often the worker looks."""

    ingest_seconds: float = Field(0.5, gt=0)
    reconcile_seconds: float = Field(2.0, gt=0)


class LearningSettings(Section):
    """When an alias is retrained, and on how much. Methods.md 1.4 and 2.1 say why these numbers."""

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
    memory_gib: float = Field(6, gt=0)
    gpu_memory_gib: float | None = Field(None, gt=0)
    threads: int | None = Field(None, ge=1)
    """Threads that compute; None: one less than the machine has cores, one at least."""
    nice: int = Field(10, ge=0, le=19)


class Settings(BaseSettings):
    """All of it. Frozen: a changed file takes effect at the next start."""

    model_config = SettingsConfigDict(
        env_prefix="STROP_", env_nested_delimiter="__", extra="forbid", frozen=True
    )

    home: Path = Path(".strop")
    gateway: GatewaySettings = GatewaySettings()
    engine: EngineSettings = EngineSettings()
    pools: tuple[PoolSettings, ...] = ()
    store: StoreSettings = StoreSettings()
    journal: JournalSettings = JournalSettings()
    worker: WorkerSettings = WorkerSettings()
    learning: LearningSettings = LearningSettings()
    train: TrainSettings = TrainSettings()

    @field_validator("home")
    @classmethod
    def make_absolute(cls, home: Path) -> Path:
        """Make STROP_HOME absolute, so that children with another folder agree on it."""
        return home.expanduser().absolute()

    @property
    def all_pools(self) -> tuple[PoolSettings, ...]:
        """The pools of the file, or the one that the short form `engine.*` describes."""
        if self.pools:
            return self.pools
        engine = self.engine
        return (
            PoolSettings(
                name="default",
                base_model=engine.base_model,
                served_name=engine.served_name,
                urls=engine.urls,
                args=engine.args,
                max_loras=engine.max_loras,
                max_lora_rank=engine.max_lora_rank,
            ),
        )

    def pool(self, name: str) -> PoolSettings:
        """Return the pool called `name`.

        Raises:
            ConfigurationError: there is none.
        """
        for pool in self.all_pools:
            if pool.name == name:
                return pool
        known = ", ".join(pool.name for pool in self.all_pools)
        raise ConfigurationError(f"There is no pool {name!r}; strop.toml knows: {known}.")

    @property
    def journal_dir(self) -> Path:
        """Where gateway workers write and the worker reads."""
        return self.home / "journal"

    @property
    def adapter_dir(self) -> Path:
        """Where adapters live, one folder each, named after them."""
        return self.home / "adapters"

    @property
    def sign_key(self) -> Path:
        """The keys that sign inference ids."""
        return self.home / "sign.key"

    @property
    def admin_key(self) -> Path:
        """The text of the first admin's bearer key."""
        return self.home / "admin.key"

    @property
    def dataset_dir(self) -> Path:
        """Where frozen datasets live, one folder each."""
        return self.home / "datasets"

    @property
    def run_dir(self) -> Path:
        """Where training runs work, one folder each."""
        return self.home / "runs"

    @property
    def log_dir(self) -> Path:
        """Where the processes of `strop up` write what they print."""
        return self.home / "logs"


def load_settings(config: Path | None = None, **overrides: Any) -> Settings:
    """Read the configuration.

    Args:
        config: a TOML file; None means $STROP_CONFIG, else `strop.toml` where it exists.
        overrides: sections that win over file and environment (tests and the command line).

    Raises:
        ConfigurationError: the file is missing, is no TOML, or holds an unknown or bad key.
    """
    path = find_config(config)
    if path is not None and not path.is_file():
        raise ConfigurationError(f"The configuration {path} does not exist. Check --config.")

    class FileSettings(Settings):
        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            init_settings: PydanticBaseSettingsSource,
            env_settings: PydanticBaseSettingsSource,
            dotenv_settings: PydanticBaseSettingsSource,
            file_secret_settings: PydanticBaseSettingsSource,
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            if path is None:
                return init_settings, env_settings
            return init_settings, env_settings, TomlConfigSettingsSource(settings_cls, path)

    try:
        return FileSettings(**overrides)
    except ValidationError as error:
        raise ConfigurationError(_explain(error, path)) from error
    except ValueError as error:  # tomllib's and pydantic-settings' own
        raise ConfigurationError(f"{path or 'The environment'} cannot be read: {error}") from error


def find_config(named_here: Path | None = None) -> Path | None:
    """Return the file to read: the one named here, $STROP_CONFIG, strop.toml, or none."""
    if named_here is not None:
        return named_here
    named = os.environ.get("STROP_CONFIG")
    if named:
        return Path(named)
    return DEFAULT_CONFIG if DEFAULT_CONFIG.is_file() else None


def _explain(error: ValidationError, path: Path | None) -> str:
    faults = "; ".join(
        f"{'.'.join(str(part) for part in fault['loc'])}: {fault['msg']}"
        for fault in error.errors()
    )
    return f"The configuration ({path or 'environment'}) is wrong: {faults}."
