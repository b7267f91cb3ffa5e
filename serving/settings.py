"""Configuration: `strop.toml`, every key of it overridable as `STROP_SECTION__KEY`.

Precedence, highest first: environment, file, defaults. An unknown key is refused by name.
"""

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, Final, Self

from pydantic import ValidationError, field_validator, model_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from serving.errors import ConfigurationError
from serving.sections import (
    EngineSettings,
    GatewaySettings,
    JournalSettings,
    LearningSettings,
    PoolSettings,
    PoolTraits,
    RoutingSettings,
    StoreSettings,
    TrainSettings,
    WorkerSettings,
)

DEFAULT_CONFIG = Path("strop.toml")
_SHORT_FORM: Final = tuple(PoolTraits.model_fields)
"""The keys of `engine` that describe the one pool of a configuration without [[pools]]."""


class Settings(BaseSettings):
    """All of it. Frozen: a changed file takes effect at the next start."""

    model_config = SettingsConfigDict(
        env_prefix="STROP_",
        env_nested_delimiter="__",
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
    )

    home: Path = Path(".strop")
    gateway: GatewaySettings = GatewaySettings()
    engine: EngineSettings = EngineSettings()
    pools: tuple[PoolSettings, ...] = ()
    routing: RoutingSettings = RoutingSettings()
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

    @model_validator(mode="after")
    def check_together(self) -> Self:
        """Refuse what each section allows and together cannot work."""
        faults = [*_pool_faults(self.pools, self.engine), *_journal_faults(self)]
        if faults:
            raise ValueError("; ".join(faults))
        return self

    @property
    def all_pools(self) -> tuple[PoolSettings, ...]:
        """The pools of the file, or the one that the short form `engine.*` describes."""
        if self.pools:
            return self.pools
        engine = self.engine
        described = {key: getattr(engine, key) for key in _SHORT_FORM}
        return (PoolSettings(name="default", **described),)

    @property
    def key_variables(self) -> frozenset[str]:
        """Names of the environment's variables that hold upstreams' keys."""
        return frozenset(pool.api_key_env for pool in self.all_pools if pool.api_key_env)

    @property
    def max_rating_age(self) -> timedelta:
        """How old an inference may be that is rated: so old that it is not kept, it is unknown."""
        most = self.gateway.feedback_max_age_days
        return timedelta(days=min(most, self.store.retention_days or most))

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
    _refuse_unknown_sections(os.environ)
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


def _refuse_unknown_sections(environment: Iterable[str]) -> None:
    """pydantic-settings passes over a variable of a section that it does not know."""
    for name in environment:
        section, is_key, _ = name.upper().removeprefix("STROP_").partition("__")
        is_ours = name.upper().startswith("STROP_") and is_key
        if is_ours and section.lower() not in Settings.model_fields:
            known = ", ".join(Settings.model_fields)
            raise ConfigurationError(f"{name} names no section of the configuration: {known}.")


def _pool_faults(pools: tuple[PoolSettings, ...], engine: EngineSettings) -> Iterator[str]:
    for key in ("name", "served_name"):
        for value, count in Counter(getattr(pool, key) for pool in pools).items():
            if count > 1:
                yield f"pools: {count} of them have the {key} {value!r}; each needs its own"
    if not pools:
        return
    # Compared with the defaults: whoever hands settings on writes all of them out.
    defaults = EngineSettings()
    unused = [key for key in _SHORT_FORM if getattr(engine, key) != getattr(defaults, key)]
    if unused:
        yield (
            f"engine: {', '.join(unused)} would count for nothing beside [[pools]]; "
            "write it into the pool"
        )


def _journal_faults(settings: Settings) -> Iterator[str]:
    # Half of it stays free of open segments: those are not removed, read or not.
    needed = 2 * settings.gateway.workers * settings.journal.segment_bytes
    if settings.journal.max_bytes < needed:
        yield (
            f"journal.max_bytes: it must be {needed} at least, two segments of "
            "journal.segment_bytes for each of gateway.workers"
        )


def _explain(error: ValidationError, path: Path | None) -> str:
    faults = "; ".join(
        ": ".join(part for part in (".".join(map(str, fault["loc"])), fault["msg"]) if part)
        for fault in error.errors()
    )
    return f"The configuration ({path or 'environment'}) is wrong: {faults}."
