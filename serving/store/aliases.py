"""The names that clients put into `model`.

Whoever changes an alias locks its row first and raises the revision last: with this order two
changes wait for each other and never deadlock.
"""

import re
from collections.abc import Collection
from typing import Any, Protocol

from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from serving.errors import ConflictError, InvalidRequestError, NotFoundError
from serving.settings import Settings
from serving.store.access import check_limits
from serving.store.database import raise_revision
from serving.store.tables import Alias, Release
from serving.types import NAME_PATTERN, ReleaseState, Task

_NAME = re.compile(NAME_PATTERN)


class Numbered(Protocol):
    """A row whose id the database counts up."""

    id: int | None


async def create_alias(
    session: AsyncSession,
    settings: Settings,
    *,
    name: str,
    tenant: str,
    task: Task,
    pool: str | None = None,
    system_prompt: str | None = None,
    is_shared: bool = False,
) -> Alias:
    """Make an alias whose release 1, the pool's base model as it is, serves at once.

    Args:
        pool: None means the first pool of the configuration.
        is_shared: whether other tenants may call it too.

    Raises:
        InvalidRequestError: the name or the tenant cannot be one, or a base model has that name.
        ConfigurationError: there is no such pool.
        ConflictError: the name is taken.
    """
    check_name("alias", name)
    check_name("tenant", tenant)
    _refuse_base_name(settings, name)
    chosen = settings.pool(pool) if pool else settings.all_pools[0]
    # The revision's lock comes first here, for there is no row yet: of two that want one name,
    # the second looks after the first has committed.
    await raise_revision(session)
    await _refuse_taken(session, name, tenant, is_shared=is_shared)
    alias = Alias(tenant=tenant, name=name, task=task, is_shared=is_shared)
    session.add(alias)
    await session.flush()
    release = Release(
        alias_id=id_of(alias),
        number=1,
        pool=chosen.name,
        system_prompt=system_prompt,
        decoding=_default_decoding(task),
        state=ReleaseState.CHAMPION,
    )
    session.add(release)
    await session.flush()
    alias.champion_id = release.id
    await session.flush()
    return alias


async def set_alias(
    session: AsyncSession,
    alias: Alias,
    *,
    task: Task | None = None,
    is_shared: bool | None = None,
    schedule: str | None = None,
    time_zone: str | None = None,
    is_paused: bool | None = None,
    budget: int | None = None,
) -> Alias:
    """Change what is given; None leaves it. What an alias *serves* changes by releases only.

    Args:
        schedule, time_zone: as `retrain.periods` reads them; the caller has checked them.
        is_paused: whether nothing is trained by itself.
        budget: tokens a month; 0 takes the limit away.

    Raises:
        InvalidRequestError: the budget cannot be one.
        ConflictError: it is to be shared, and another tenant shares that name already.
    """
    check_limits({"budget": budget or None})
    locked = await lock_alias(session, id_of(alias))
    await raise_revision(session)
    if is_shared and not locked.is_shared:
        await _refuse_shared(session, locked.name)
    changes = {
        "task": task,
        "is_shared": is_shared,
        "schedule": schedule,
        "time_zone": time_zone,
        "is_paused": is_paused,
    }
    for name, value in changes.items():
        if value is not None:
            setattr(locked, name, value)
    if budget is not None:
        locked.budget = budget or None
    await session.flush()
    return locked


async def find_alias(session: AsyncSession, name: str, tenant: str) -> Alias:
    """Return the tenant's own alias of that name.

    Raises:
        NotFoundError: it has none.
    """
    query = select(Alias).where(Alias.tenant == tenant, Alias.name == name)
    alias = (await session.exec(query)).one_or_none()
    if alias is None:
        raise _unknown(name, tenant)
    return alias


async def find_callable_alias(session: AsyncSession, name: str, tenant: str) -> Alias:
    """Return what the tenant reaches by that name: its own alias, else the shared one.

    Raises:
        NotFoundError: it reaches nothing.
    """
    query = select(Alias).where(
        Alias.name == name, (col(Alias.tenant) == tenant) | col(Alias.is_shared)
    )
    found = sorted(await session.exec(query), key=lambda alias: alias.tenant != tenant)
    if not found:
        raise _unknown(name, tenant)
    return found[0]


async def list_aliases(session: AsyncSession, tenant: str | None = None) -> list[Alias]:
    """Return every alias, or those of one tenant, by tenant and name."""
    query = select(Alias).order_by(Alias.tenant, Alias.name)
    if tenant is not None:
        query = query.where(Alias.tenant == tenant)
    return list(await session.exec(query))


async def aliases_by_id(session: AsyncSession, ids: Collection[int]) -> dict[int, Alias]:
    """Return the aliases of these ids."""
    found = await session.exec(select(Alias).where(col(Alias.id).in_(ids)))
    return {id_of(alias): alias for alias in found}


async def lock_alias(session: AsyncSession, alias_id: int) -> Alias:
    """Return an alias as it is now, locked against changes until the transaction ends.

    Raises:
        NotFoundError: there is no such alias.
    """
    query = select(Alias).where(Alias.id == alias_id)
    # NO KEY: rows that point at the alias can still be written meanwhile.
    query = query.with_for_update(key_share=True).execution_options(populate_existing=True)
    alias = (await session.exec(query)).one_or_none()
    if alias is None:
        raise NotFoundError(
            f"There is no alias with id {alias_id}. `strop aliases list` shows all."
        )
    return alias


def id_of(row: Numbered) -> int:
    """Return the id of a row that the database has seen."""
    assert row.id is not None
    return row.id


def check_name(what: str, name: str) -> None:
    """Refuse a name that could not stand in a URL, a folder or `name@number`.

    Raises:
        InvalidRequestError: it is none.
    """
    if not _NAME.fullmatch(name):
        raise InvalidRequestError(
            f"{name[:80]!r} cannot be the name of a {what}: it takes 1 to 63 of a-z, 0-9, "
            "'.', '_' and '-', and begins with a letter or digit.",
            param=what,
        )


def _default_decoding(task: Task) -> dict[str, Any]:
    """Return how an alias answers unless the client says otherwise: one right answer is not drawn."""
    return {"temperature": 0} if task in (Task.CLASSIFY, Task.EXTRACT, Task.JSON) else {}


def _refuse_base_name(settings: Settings, name: str) -> None:
    for pool in settings.all_pools:
        if pool.served_name == name:
            raise InvalidRequestError(
                f"{name!r} is the name of pool {pool.name!r}'s base model. "
                "Choose another name for the alias, or another served_name for the pool.",
                param="alias",
            )


async def _refuse_taken(session: AsyncSession, name: str, tenant: str, *, is_shared: bool) -> None:
    query = select(Alias.id).where(Alias.tenant == tenant, Alias.name == name)
    if (await session.exec(query)).first() is not None:
        raise ConflictError(
            f"Tenant {tenant!r} has an alias {name!r} already. Choose another name."
        )
    if is_shared:
        await _refuse_shared(session, name)


async def _refuse_shared(session: AsyncSession, name: str) -> None:
    query = select(Alias.tenant).where(Alias.name == name, col(Alias.is_shared))
    owner = (await session.exec(query)).first()
    if owner is not None:
        raise ConflictError(
            f"Tenant {owner!r} shares an alias {name!r} already, and callers could not tell the "
            "two apart. Choose another name, or do not share it."
        )


def _unknown(name: str, tenant: str) -> NotFoundError:
    return NotFoundError(
        f"Tenant {tenant!r} has no alias {name!r}. `strop aliases list` shows all, "
        "`strop aliases create` makes one."
    )
