"""The worker's look at every alias: runs under way take a step, and new ones begin where due.

Two workers may look at once: a run is created under unique indexes, and advanced under a lock.
"""

import logging
from dataclasses import asdict
from datetime import datetime

from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from retrain.evidence import gather_evidence, policy_of
from retrain.pipeline import advance
from retrain.shop import Shop
from retrain.triggers import Evidence, Look, look
from serving.errors import StropError
from serving.store.aliases import id_of, list_aliases
from serving.store.learning import Action, Decision, Trigger
from serving.store.runs import create_run, list_active_runs
from serving.store.tables import Alias, utc_now

log = logging.getLogger("strop.retrain")


async def advance_runs(shop: Shop) -> None:
    """Let every run that is under way take its next step; one that cannot now holds up no other."""
    async with shop.database.session() as session:
        runs = await list_active_runs(session)
    for run in runs:
        assert run.id is not None
        async with shop.database.lock(f"run/{run.id}") as is_ours:
            if not is_ours:
                continue
            try:
                await advance(shop, run.id)
            except StropError as error:
                log.warning("run %s waits: %s", run.id, error.message)


async def look_at_aliases(shop: Shop) -> None:
    """Decide about every alias, keep what is news, and begin the runs that are due."""
    async with shop.database.session() as session:
        aliases = await list_aliases(session)
    for alias in aliases:
        async with shop.database.session() as session:
            await _look_at(session, shop, alias, utc_now())


async def _look_at(session: AsyncSession, shop: Shop, alias: Alias, now: datetime) -> None:
    evidence = await gather_evidence(session, shop.settings, alias, now)
    found = look(policy_of(shop.settings, alias), evidence)
    run_id = None
    if found.action is Action.TRAIN:
        assert found.trigger is not None
        run = await create_run(
            session,
            id_of(alias),
            trigger=found.trigger,
            reason=found.reason,
            actor="worker",
            period=evidence.period if found.trigger is Trigger.PERIOD else None,
        )
        run_id = run.id if run else None
    await _keep_news(session, alias, found, evidence, run_id)


async def _keep_news(
    session: AsyncSession, alias: Alias, found: Look, evidence: Evidence, run_id: int | None
) -> None:
    """Store a decision unless it says what the last one said."""
    query = select(Decision).where(Decision.alias_id == alias.id)
    last = (await session.exec(query.order_by(col(Decision.id).desc()).limit(1))).first()
    if last and (last.action, last.trigger, last.reason) == (
        found.action,
        found.trigger,
        found.reason,
    ):
        return
    values = {
        name: value.isoformat() if isinstance(value, datetime) else value
        for name, value in asdict(evidence).items()
    }
    session.add(
        Decision(
            alias_id=id_of(alias),
            action=found.action,
            trigger=found.trigger,
            reason=found.reason,
            evidence=values,
            run_id=run_id,
            at=evidence.now,
        )
    )
    await session.flush()
