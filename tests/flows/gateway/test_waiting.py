"""`strop train --wait`: a run is over when it has ended, not when its gate has passed it."""

import asyncio
from pathlib import Path
from typing import Any

from gateway.operations.resources import Resources
from gateway.operations.runs import wait_for_run
from serving.settings import Settings
from serving.store.aliases import create_alias, id_of
from serving.store.database import Database
from serving.store.learning import Run, RunState, Trigger
from serving.store.runs import end_run, lock_run
from serving.types import Task


async def test_a_run_that_passed_is_waited_for_until_it_is_promoted(
    database: Database, tmp_path: Path
) -> None:
    """Passed, and not ended: the worker is about to promote it. Each look at it is shown."""
    settings = Settings(home=tmp_path)
    async with database.session() as session:
        alias = await create_alias(
            session, settings, name="support", tenant="default", task=Task.CHAT
        )
        run = Run(
            alias_id=id_of(alias),
            trigger=Trigger.PERIOD,
            reason="a test",
            actor="worker",
            state=RunState.PASSED,
        )
        session.add(run)
    assert run.id is not None
    looks: list[dict[str, Any]] = []
    is_seen = asyncio.Event()

    def look(found: dict[str, Any]) -> None:
        looks.append(found)
        is_seen.set()

    resources = Resources(database, settings, {})
    waiting = asyncio.create_task(wait_for_run(resources, run.id, look))
    async with asyncio.timeout(60):
        await is_seen.wait()
        async with database.session() as session:
            end_run(await lock_run(session, run.id), RunState.PASSED)
        ended = await waiting
    assert looks[0]["ended_at"] is None
    assert "is being promoted" in looks[0]["summary"]
    assert (ended["state"], ended["evaluations"]) == ("passed", [])
    assert ended["ended_at"] is not None
