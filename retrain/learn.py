"""The worker's look at every alias: runs under way take a step, and new ones begin where due.

Two workers may look at once: a run is created under unique indexes, and advanced under a lock.
"""

import asyncio
import logging
import re
from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import datetime

import msgspec
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from retrain.evidence import fingerprint, gather_evidence, policy_of, take_stock
from retrain.jobs import log_failure
from retrain.pipeline import advance, wait
from retrain.shop import Shop
from retrain.triggers import Evidence, Look, Stock, has_fallen, is_due, look
from serving.errors import StropError
from serving.store.aliases import id_of, list_aliases
from serving.store.learning import Action, Decision, Run, RunState, Trigger
from serving.store.runs import create_run, list_active_runs
from serving.store.tables import Alias, utc_now

log = logging.getLogger("strop.retrain")

_LOOK_SECONDS = 1.0
"""How often, while a step is in hand, the other runs take theirs."""
_NUMBER = re.compile(r"\d+")


async def advance_runs(shop: Shop) -> None:
    """Let every run that is under way take its next step, but for those that have to stand in line.

    None waits for another: while a step takes minutes, the other runs take more of theirs. One
    worker does so at a time. Its lock is the only connection that is held meanwhile.
    """
    async with shop.database.lock("runs") as is_ours:
        if is_ours:
            await _advance_all(shop)


def stand_in_line(runs: Sequence[Run], max_at_once: int) -> list[Run]:
    """Return the queued runs that no trainer is free for: those that were asked for last.

    Args:
        runs: all that are under way, oldest first.
        max_at_once: trainers that may run.
    """
    num_training = sum(run.state is RunState.TRAINING for run in runs)
    queued = [run for run in runs if run.state is RunState.QUEUED and not run.is_cancelled]
    return queued[max(0, max_at_once - num_training) :]


async def look_at_aliases(shop: Shop, now: datetime | None = None) -> None:
    """Decide about every alias, keep what is news, and begin the runs that are due.

    Args:
        now: the time that it is; None: the clock's.
    """
    async with shop.database.lock("look") as is_ours:
        if not is_ours:
            return
        async with shop.database.session() as session:
            aliases = await list_aliases(session)
        for alias in aliases:
            try:
                async with shop.database.session() as session:
                    await _look_at(session, shop, alias, now or utc_now())
            except StropError as error:
                log.warning("looking at alias %s/%s: %s", alias.tenant, alias.name, error.message)
            except Exception as error:  # noqa: BLE001 - the others are looked at all the same
                log_failure(f"looking at alias {alias.tenant}/{alias.name} failed", error)


async def _advance_all(shop: Shop) -> None:
    """Return once no step is in hand; whoever cuts this off cuts them off."""
    steps: dict[int, asyncio.Task[None]] = {}
    try:
        while True:
            for run_id in await _whose_turn_it_is(shop):
                if run_id not in steps:
                    steps[run_id] = asyncio.create_task(advance(shop, run_id))
            if not steps:
                return
            done, in_hand = await asyncio.wait(steps.values(), timeout=_LOOK_SECONDS)
            for step in done:
                step.result()
            if not in_hand:
                return
            steps = {run_id: step for run_id, step in steps.items() if step in in_hand}
    finally:
        for step in steps.values():
            step.cancel()
        await asyncio.gather(*steps.values(), return_exceptions=True)


async def _whose_turn_it_is(shop: Shop) -> list[int]:
    """Return the runs that may take a step; tell the others what they wait for."""
    async with shop.database.session() as session:
        runs = await list_active_runs(session)
    max_at_once = shop.settings.train.max_at_once
    line = stand_in_line(runs, max_at_once)
    for run in line:
        await wait(shop, run, f"its turn to train. `train.max_at_once` is {max_at_once}.")
    return [run.id for run in runs if run.id is not None and run not in line]


async def _look_at(session: AsyncSession, shop: Shop, alias: Alias, now: datetime) -> None:
    policy = policy_of(shop.settings, alias)
    evidence = await gather_evidence(session, shop.settings, alias, now)
    if has_fallen(policy, evidence):
        evidence = replace(evidence, fell_at=evidence.fell_at or now)
    if is_due(policy, evidence):
        stock = await _stock_of(session, shop, alias, evidence.fell_at)
        evidence = replace(evidence, stock=stock)
    found = look(policy, evidence)
    run_id = None
    if found.action is Action.TRAIN:
        run_id = await _begin(session, alias, found, evidence)
        if run_id is None:
            return  # somebody else began one in this moment: the next look sees it
    await _keep_news(session, alias, found, evidence, run_id)


async def _stock_of(
    session: AsyncSession, shop: Shop, alias: Alias, fell_at: datetime | None
) -> Stock:
    """Take stock, or remember it from the last look where nothing has come in since."""
    mark = await fingerprint(session, alias, fell_at)
    known = shop.stocks.get(id_of(alias))
    if known is not None and known[0] == mark:
        return known[1]
    stock = await take_stock(session, shop.settings, alias, fell_at)
    shop.stocks[id_of(alias)] = mark, stock
    return stock


async def _begin(
    session: AsyncSession, alias: Alias, found: Look, evidence: Evidence
) -> int | None:
    assert found.trigger is not None
    is_quality = found.trigger is Trigger.QUALITY
    run = await create_run(
        session,
        id_of(alias),
        trigger=found.trigger,
        reason=found.reason,
        actor="worker",
        period=None if is_quality else evidence.period,
        fell_at=evidence.fell_at if is_quality else None,
    )
    return run.id if run else None


async def _keep_news(
    session: AsyncSession, alias: Alias, found: Look, evidence: Evidence, run_id: int | None
) -> None:
    """Store a decision; beside one that says the same with other numbers, those, and when."""
    query = select(Decision).where(Decision.alias_id == alias.id)
    last = (await session.exec(query.order_by(col(Decision.id).desc()).limit(1))).first()
    values = msgspec.to_builtins(asdict(evidence))
    if last is not None and run_id is None and _gist(last) == _gist(found):
        last.last_reason, last.last_evidence, last.last_at = found.reason, values, evidence.now
        return
    session.add(
        Decision(
            alias_id=id_of(alias),
            action=found.action,
            trigger=found.trigger,
            reason=found.reason,
            evidence=values,
            run_id=run_id,
            at=evidence.now,
            last_reason=found.reason,
            last_evidence=values,
            last_at=evidence.now,
        )
    )
    await session.flush()


def _gist(decision: Decision | Look) -> tuple[Action, Trigger | None, str]:
    return decision.action, decision.trigger, _NUMBER.sub("#", decision.reason)
