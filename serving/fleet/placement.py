"""Which adapters belong on which engines: pure rules over the catalogue."""

from collections.abc import Sequence
from dataclasses import replace

from serving.errors import ConflictError
from serving.routing.catalog import Catalog
from serving.sections import PoolSettings
from serving.store.tables import GatewayWorker


def desired_adapters(catalog: Catalog, pool: str) -> set[str]:
    """Return what each replica of a pool ought to hold.

    Champions, challengers and previous; and candidates for as long as a run evaluates them.
    """
    served = (release for alias in catalog.all_aliases for release in alias.releases)
    return {
        release.adapter
        for release in (*served, *catalog.under_evaluation)
        if release.pool == pool and release.adapter is not None
    }


def is_unloadable(catalog: Catalog, pool: str, name: str, workers: Sequence[GatewayWorker]) -> bool:
    """Whether nobody wants an adapter, every live worker knows, and no request runs on it."""
    return name not in desired_adapters(catalog, pool) and all(
        worker.revision >= catalog.revision and not worker.in_flight.get(name) for worker in workers
    )


def check_room(catalog: Catalog, pool: PoolSettings) -> None:
    """Refuse more champions and challengers than fit into a batch beside one for evaluation.

    Args:
        catalog: as it would be.

    Raises:
        ConflictError: the pool's `max_loras` is too small; says how large it has to be.
    """
    held = {
        release.adapter
        for alias in catalog.all_aliases
        for release in (alias.champion, alias.challenger)
        if release is not None and release.pool == pool.name and release.adapter is not None
    }
    needed = len(held) + 1
    if needed > pool.max_loras:
        raise ConflictError(
            f"Pool {pool.name!r} has max_loras = {pool.max_loras}, and champions, challengers and "
            f"one adapter under evaluation would be {needed}. Set max_loras to {needed} (8 at "
            "most) and restart its engines, or serve an alias from another pool.",
            code="pool_full",
        )


def with_challenger_promoted(catalog: Catalog, alias_id: int) -> Catalog:
    """Return the catalogue as it would be if the alias's challenger were its champion."""
    aliases = dict(catalog.aliases)
    for key, alias in catalog.aliases.items():
        if alias.id == alias_id and alias.challenger is not None:
            aliases[key] = replace(alias, champion=alias.challenger, challenger=None)
    return replace(catalog, aliases=aliases)
