"""The engines of every pool, as the configuration names them."""

import os
from functools import partial

import httpx

from serving.errors import ConfigurationError
from serving.fleet.engine import Engine, OpenAIEngine, VllmEngine
from serving.sections import PoolSettings
from serving.settings import Settings
from serving.types import PoolKind


def engines_of(settings: Settings, client: httpx.AsyncClient) -> dict[str, tuple[Engine, ...]]:
    """Return the replicas of each pool by the pool's name; `client` stays the caller's.

    Raises:
        ConfigurationError: an `openai` pool names no URL.
    """
    return {
        pool.name: tuple(_engine_of(pool, url, client) for url in urls_of(settings, pool))
        for pool in settings.all_pools
    }


def urls_of(settings: Settings, pool: PoolSettings) -> tuple[str, ...]:
    """Return where a pool's replicas listen, without /v1.

    Engines started here take ports upwards from `engine.port`, over all pools in their order.

    Raises:
        ConfigurationError: an `openai` pool names no URL.
    """
    if not pool.is_launched_here:
        if not pool.urls:
            raise ConfigurationError(
                f"The pool {pool.name!r} has kind `openai` and no `urls`. Name its upstream."
            )
        return tuple(url.rstrip("/") for url in pool.urls)
    first = settings.engine.port + _num_engines_before(settings, pool)
    return tuple(f"http://127.0.0.1:{first + index}" for index in range(pool.replicas))


def num_engines_here(settings: Settings) -> int:
    """Return how many engines `strop up` starts on this machine."""
    return sum(pool.replicas for pool in settings.all_pools if pool.is_launched_here)


def _num_engines_before(settings: Settings, pool: PoolSettings) -> int:
    names = [each.name for each in settings.all_pools]
    before = settings.all_pools[: names.index(pool.name)]
    return sum(each.replicas for each in before if each.is_launched_here)


def _engine_of(pool: PoolSettings, url: str, client: httpx.AsyncClient) -> Engine:
    if pool.kind is PoolKind.OPENAI:
        return OpenAIEngine(url, client, partial(read_api_key, pool), pool.base_model)
    return VllmEngine(url, client)


def read_api_key(pool: PoolSettings) -> str:
    """Return the key that a pool's upstream wants; empty: none.

    Raises:
        ConfigurationError: its variable is not set, or holds what no header can.
    """
    if not pool.api_key_env:
        return ""
    key = os.environ.get(pool.api_key_env, "")
    if not key:
        raise ConfigurationError(
            f"The pool {pool.name!r} takes its key from ${pool.api_key_env}, which is not set."
        )
    if not (key.isascii() and key.isprintable()) or " " in key:
        raise ConfigurationError(
            f"The key in ${pool.api_key_env}, for the pool {pool.name!r}, has a space, a line end or "
            "another character that no header takes. Set it without."
        )
    return key
