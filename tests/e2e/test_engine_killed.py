"""The engine dies under load. Comes last: it takes the run's only vLLM down."""

import asyncio
import time

import pytest

from tests.load import Outcome, clients
from tests.scale import Scale
from tests.stack import Stack, wait_until

RESTART_SECONDS = 600


@pytest.mark.last
@pytest.mark.timeout(900)
async def test_a_killed_engine_comes_back_with_its_adapters(stack: Stack, scale: Scale) -> None:
    """Clients get 503 with Retry-After until the adapter is proved again; never a wrong model."""
    async with clients(4, stack.url, stack.key, "support", pause=0.05) as outcomes:
        await reach(outcomes, 8)
        killed_at, count = time.monotonic(), len(outcomes)
        for process in stack.processes("vllm.entrypoints.openai.api_server"):
            process.kill()
        await asyncio.to_thread(
            wait_until,
            lambda: any(outcome.is_ok for outcome in outcomes[count + 8 :]),
            RESTART_SECONDS,
            "the engine answers again",
        )
        down_seconds = time.monotonic() - killed_at
        await reach(outcomes, 8)
    assert [outcome for outcome in outcomes if outcome.is_from_another_model] == []
    refused = [outcome for outcome in outcomes[count:] if outcome.status == 503]
    assert refused, "the engine was never missed"
    assert all(outcome.retry_after for outcome in refused)
    # What was in flight when the engine died may have had its first byte: an error, no answer.
    others = [o for o in outcomes[count:] if not o.is_ok and o.status != 503]
    assert len(others) <= 4
    assert all(outcome.status in (200, 502) and outcome.error for outcome in others)
    scale.record(
        "engine_killed",
        seconds_until_answers=round(down_seconds, 1),
        refused_503=len(refused),
        broken_in_flight=len(others),
        answered_by_another_version=0,
    )


async def reach(outcomes: list[Outcome], more: int) -> None:
    """Wait until `more` further requests ended well."""

    def num_ok() -> int:
        return sum(outcome.is_ok for outcome in outcomes)

    wanted = num_ok() + more
    await asyncio.to_thread(wait_until, lambda: num_ok() >= wanted, 300, f"{more} more answers")
