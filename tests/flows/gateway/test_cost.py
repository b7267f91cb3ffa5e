"""What requests cost: at the replica, in the metrics, and in what operators are told of the month."""

from pathlib import Path
from typing import Any

import pytest

from gateway.command.status import tell_usage
from serving.journal.ingest import ingest
from serving.settings import Settings
from serving.store.database import Database
from serving.types import Role
from tests.gateway import (
    Gateway,
    is_well,
    make_alias,
    make_key,
    make_settings,
    running_gateway,
    until,
)
from tests.upstream_server import USAGE, Answer, FakeEngine, Received, answer_like_vllm, fake_engine


async def test_a_price_turns_a_request_into_cost(
    settings: Settings, engine: FakeEngine, database: Database
) -> None:
    """Alone at its replica it costs all of its time there: at 7.2 million an hour, 2 a millisecond."""
    await make_alias(database, settings, "support")
    priced = settings.engine.model_copy(update={"price_per_gpu_hour": 3.6e6, "gpus": 2})
    async with running_gateway(settings.model_copy(update={"engine": priced}), database) as gateway:
        await is_well(gateway)
        await until(lambda: bool(gateway.runtime.catalog.aliases))
        unused = await read_alias(gateway, database)
        assert (unused["tokens_this_month"], unused["cost_this_month"]) == (0, 0)
        assert (await gateway.chat(model="support")).status == 200
        (end,) = await gateway.ended(1)
        (line,) = [
            line
            for line in gateway.runtime.metrics.render().decode().splitlines()
            if line.startswith("strop_cost_total")
        ]
        await ingest(database, settings.journal_dir)
        used = await read_alias(gateway, database)
    assert end.busy_ms is not None
    assert 0 < end.busy_ms <= end.end_to_end_ms
    assert float(line.split()[-1]) == pytest.approx(2 * end.busy_ms)
    assert used["cost_this_month"] == pytest.approx(2 * end.busy_ms, abs=1e-4)  # as it is rounded
    assert used["tokens_this_month"] == USAGE["total_tokens"]
    assert tell_usage(used) == f"10 tokens for {used['cost_this_month']:.2f}"


async def test_a_replica_tried_in_vain_is_paid_for(
    tmp_path: Path, engine: FakeEngine, database: Database
) -> None:
    """Its time went into the request, too."""
    async with fake_engine() as other:
        settings = make_settings(tmp_path, engine, other)
        priced = settings.engine.model_copy(update={"price_per_gpu_hour": 3600.0})
        settings = settings.model_copy(update={"engine": priced})
        async with running_gateway(settings, database) as gateway:
            await is_well(gateway)
            asked: list[Received] = []

            def keep_one_waiting(received: Received) -> Answer:
                asked.append(received)
                if len(asked) > 1:
                    return answer_like_vllm(received)
                return Answer(status=503, before_head=0.3)

            engine.script = other.script = keep_one_waiting
            assert (await gateway.chat()).status == 200
            (end,) = await gateway.ended(1)
    assert end.busy_ms is not None
    assert end.busy_ms > 300


async def read_alias(gateway: Gateway, database: Database) -> Any:
    """Return what the gateway's status says of the one alias."""
    key = await make_key(database, role=Role.OPS)
    await until(lambda: gateway.runtime.catalog.principal_of(key) is not None)
    headers = {"Authorization": f"Bearer {key}"}
    async with gateway.session.get(f"{gateway.url}/api/status", headers=headers) as response:
        assert response.status == 200
        (alias,) = (await response.json())["aliases"]
        return alias
