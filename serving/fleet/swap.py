"""The walk of a release: promotion and rollback.

A promotion:
1. Hold the alias: one walk at a time.
2. Nominate (transaction 1): the gate has passed the release, or it is forced; it becomes the
   alias's challenger with no share of traffic, so that the reconciler wants its adapter too.
3. Load the adapter on every healthy replica, and prove it there.
4. Flip (transaction 2): by compare-and-set on the champion that was read.
If a replica fails in 3, the nomination is withdrawn and the alias serves what it served. A process
that dies between 2 and 4 leaves a challenger without traffic; the next promotion takes its place.

A rollback is step 4 towards the champion before, which is still loaded. It swaps the two, so that
a mistaken rollback is undone by another.
"""

import logging
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

from sqlmodel.ext.asyncio.session import AsyncSession

from serving.errors import ConflictError, InvalidRequestError, StropError
from serving.fleet.engine import Engine
from serving.fleet.holding import hold_everywhere, hold_somewhere, unload_if_unused
from serving.fleet.permit import require_passed
from serving.fleet.placement import check_room, with_challenger_promoted
from serving.sections import PoolSettings
from serving.settings import Settings
from serving.store.aliases import id_of, lock_alias
from serving.store.catalog import load_catalog
from serving.store.database import Database, raise_revision
from serving.store.releases import find_release, get_release
from serving.store.tables import Adapter, Alias, Promotion, Release
from serving.types import ReleaseState

log = logging.getLogger("strop.serving")

Engines = Mapping[str, tuple[Engine, ...]]

WALK_UNDER_WAY = "walk_under_way"
"""The code of the conflict that is over in a moment."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Walk:
    """What one promotion or rollback is about, as of its first look."""

    alias_id: int
    champion_id: int | None
    """The champion that was read, and that the flip expects."""
    release_id: int
    pool: PoolSettings
    adapter: Adapter | None
    former_state: ReleaseState
    """What the release goes back to if the walk fails."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Order:
    """Who wants the flip, and why: what the promotion's row keeps."""

    actor: str
    reason: str
    is_forced: bool = False
    is_rollback: bool = False


async def promote(
    database: Database,
    settings: Settings,
    engines: Engines,
    alias_id: int,
    number: int,
    *,
    actor: str,
    reason: str,
    is_forced: bool,
) -> Promotion:
    """Make a release the champion: loaded and proved on every healthy replica, then flipped.

    Raises:
        InvalidRequestError: forced without a reason; or not forced, and its gate has not passed it
            against the present champion.
        NotFoundError: no such alias or release.
        ConflictError: it is the champion already; another walk is under way or came first;
            the pool has no room for one more adapter; the adapter's files have changed.
        EngineError: a replica does not load or prove the adapter; nothing has changed.
        UnavailableError: no replica is healthy; nothing has changed.
    """
    order = _order_of(actor, reason, is_forced)
    async with _only_walk(database, alias_id):
        walk = await _nominate(database, settings, alias_id, number, order)
        try:
            if walk.adapter is not None:
                replicas = engines[walk.pool.name]
                await hold_everywhere(settings, walk.pool, replicas, walk.adapter)
            return await _flip(database, walk, order)
        except BaseException:
            await _withdraw(database, engines, walk)
            raise


async def rollback(
    database: Database,
    settings: Settings,
    engines: Engines,
    alias_id: int,
    *,
    actor: str,
    reason: str,
) -> Promotion:
    """Put the champion before back. It is still loaded: replicas that lost it get it first.

    Raises:
        NotFoundError: no such alias.
        ConflictError: there is no champion before; another walk is under way or came first.
        EngineError: not one healthy replica holds the adapter or can be made to.
    """
    async with _only_walk(database, alias_id):
        walk = await _look_back(database, settings, alias_id)
        if walk.adapter is not None:
            replicas = engines[walk.pool.name]
            await hold_somewhere(settings, walk.pool, replicas, walk.adapter)
        return await _flip(database, walk, _Order(actor=actor, reason=reason, is_rollback=True))


def _order_of(actor: str, reason: str, is_forced: bool) -> _Order:
    if is_forced and not reason.strip():
        raise InvalidRequestError(
            "A forced promotion needs a reason, which is kept: use --reason.", param="reason"
        )
    return _Order(actor=actor, reason=reason or "The gate passed it.", is_forced=is_forced)


@asynccontextmanager
async def _only_walk(database: Database, alias_id: int) -> AsyncGenerator[None]:
    async with database.lock(f"alias/{alias_id}") as is_ours:
        if not is_ours:
            raise ConflictError(
                "Another promotion or rollback of this alias is under way. "
                "Look at its outcome, then try again.",
                code=WALK_UNDER_WAY,
            )
        yield


async def _nominate(
    database: Database, settings: Settings, alias_id: int, number: int, order: _Order
) -> _Walk:
    """Transaction 1. A release without an adapter has nothing to load, so nothing is written."""
    async with database.session() as session:
        alias = await lock_alias(session, alias_id)
        release = await find_release(session, alias, number)
        _check_candidate(alias, release)
        if not order.is_forced:
            await require_passed(session, alias, release)
        walk = await _begin(session, settings, alias, release)
        if walk.adapter is not None:
            await _challenge(session, alias, release)
            check_room(with_challenger_promoted(await load_catalog(session), alias_id), walk.pool)
    return walk


def _check_candidate(alias: Alias, release: Release) -> None:
    if release.id == alias.champion_id:
        raise ConflictError(f"Release {release.number} is {alias.name!r}'s champion already.")
    if alias.canary_percent > 0 and release.id != alias.challenger_id:
        raise ConflictError(
            f"A canary of another release of {alias.name!r} is under way. Promote that one, or "
            "end the canary first."
        )


async def _challenge(session: AsyncSession, alias: Alias, release: Release) -> None:
    """Make a release the challenger, in place of what a killed walk may have left there."""
    if alias.challenger_id == release.id:
        return
    if alias.challenger_id is not None:
        left = await get_release(session, alias.challenger_id)
        left.state = ReleaseState.CANDIDATE
    release.state = ReleaseState.CHALLENGER
    alias.challenger_id = release.id
    alias.canary_percent = 0
    alias.canary_revision += 1
    await session.flush()
    await raise_revision(session)


async def _look_back(database: Database, settings: Settings, alias_id: int) -> _Walk:
    async with database.session() as session:
        alias = await lock_alias(session, alias_id)
        if alias.previous_id is None:
            raise ConflictError(
                f"{alias.name!r} has no release to roll back to: it was never promoted. "
                f"`strop releases list {alias.name}` shows what there is to promote."
            )
        return await _begin(session, settings, alias, await get_release(session, alias.previous_id))


async def _begin(
    session: AsyncSession, settings: Settings, alias: Alias, release: Release
) -> _Walk:
    adapter = None
    if release.adapter_id is not None:
        adapter = await session.get_one(Adapter, release.adapter_id)
    return _Walk(
        alias_id=id_of(alias),
        champion_id=alias.champion_id,
        release_id=id_of(release),
        pool=settings.pool(release.pool),
        adapter=adapter,
        former_state=release.state,
    )


async def _flip(database: Database, walk: _Walk, order: _Order) -> Promotion:
    """Transaction 2, and the only place where a champion changes."""
    async with database.session() as session:
        alias = await lock_alias(session, walk.alias_id)
        if alias.champion_id != walk.champion_id:
            raise ConflictError(
                f"{alias.name!r} got another champion meanwhile. "
                f"`strop releases list {alias.name}` shows it; decide again."
            )
        await _hand_over(session, alias, walk, order)
        promotion = Promotion(
            alias_id=walk.alias_id,
            from_release_id=walk.champion_id,
            to_release_id=walk.release_id,
            is_rollback=order.is_rollback,
            is_forced=order.is_forced,
            reason=order.reason,
            actor=order.actor,
            revision=await raise_revision(session),
        )
        session.add(promotion)
    return promotion


async def _hand_over(session: AsyncSession, alias: Alias, walk: _Walk, order: _Order) -> None:
    champion_id = alias.champion_id
    assert champion_id is not None
    old = await get_release(session, champion_id)
    new = await get_release(session, walk.release_id)
    old.state = ReleaseState.ROLLED_BACK if order.is_rollback else ReleaseState.RETIRED
    new.state = ReleaseState.CHAMPION
    alias.previous_id, alias.champion_id = alias.champion_id, new.id
    if alias.challenger_id == new.id:
        _end_canary(alias)
    await session.flush()


async def _withdraw(database: Database, engines: Engines, walk: _Walk) -> None:
    """Take a nomination back, unless the release has a canary of its own; unload what was loaded.

    What a gateway worker still knows as a challenger stays loaded; the reconciler sees to it.
    """
    if walk.adapter is None:
        return
    async with database.session() as session:
        alias = await lock_alias(session, walk.alias_id)
        if alias.challenger_id == walk.release_id and alias.canary_percent == 0:
            release = await get_release(session, walk.release_id)
            is_left_over = walk.former_state is ReleaseState.CHALLENGER
            release.state = ReleaseState.CANDIDATE if is_left_over else walk.former_state
            _end_canary(alias)
            await session.flush()
            await raise_revision(session)
    for engine in engines[walk.pool.name]:
        try:
            await unload_if_unused(database, walk.pool, engine, walk.adapter)
        except StropError as error:
            log.warning("withdrawing %s: %s", walk.adapter.name, error.message)


def _end_canary(alias: Alias) -> None:
    alias.challenger_id = None
    alias.canary_percent = 0
    alias.canary_revision += 1
