"""Adapters swapped under clients that stream without pause, on real vLLM."""

import asyncio
import time
from pathlib import Path

from tests.load import Outcome, clients
from tests.scale import Scale
from tests.stack import Stack, wait_until


async def test_swaps_under_streaming_clients_fail_nothing(
    stack: Stack, adapters: list[Path], scale: Scale
) -> None:
    """No request fails, and none is answered by another version than its header says."""
    before = stack.strop("releases", "list", "support")["champion"]
    async with clients(8, stack.url, stack.key, "support") as outcomes:
        await answered(outcomes, 16)
        for folder in adapters:
            await asyncio.to_thread(swap_in, stack, folder)
            await answered(outcomes, 8)
    failed = [outcome for outcome in outcomes if not outcome.is_ok]
    assert failed == []
    assert [outcome for outcome in outcomes if outcome.is_from_another_model] == []
    assert len({outcome.promised for outcome in outcomes}) == len(adapters) + 1
    scale.record(
        "swaps",
        swaps=len(adapters),
        clients=8,
        requests=len(outcomes),
        failed=len(failed),
        answered_by_another_version=0,
    )
    await asyncio.to_thread(stack.strop, "promote", "support", str(before), *FORCED)


async def test_a_rollback_takes_under_five_seconds_while_clients_stream(
    stack: Stack, adapters: list[Path], scale: Scale
) -> None:
    """`strop rollback` puts the former champion back, seen by every new request, in seconds."""
    former = (await asyncio.to_thread(stack.strop, "aliases", "show", "support"))["champion"]
    await asyncio.to_thread(swap_in, stack, adapters[0])
    async with clients(8, stack.url, stack.key, "support") as outcomes:
        await answered(outcomes, 16)
        started = time.monotonic()
        await asyncio.to_thread(stack.strop, "rollback", "support")
        command_seconds = time.monotonic() - started
        await answered(outcomes, 32)
    assert [outcome for outcome in outcomes if not outcome.is_ok] == []
    expected = former["adapter"] or "base"
    late = [o.begun_at - started for o in outcomes if o.promised != expected]
    seconds = max(command_seconds, *late)
    assert any(o.begun_at > started + seconds for o in outcomes), "the former never came back"
    assert seconds < (5 if scale.is_full else 60)
    scale.record("rollback", seconds=round(seconds, 2), clients=8)


FORCED = ("--force", "--reason", "a test of the swap")


def swap_in(stack: Stack, folder: Path) -> None:
    """Import an adapter and make it the champion."""
    imported = stack.strop("adapters", "import", "support", str(folder))
    stack.strop("promote", "support", str(imported["release"]["number"]), *FORCED)


async def answered(outcomes: list[Outcome], more: int) -> None:
    """Wait until `more` further requests have ended."""
    count = len(outcomes) + more
    await asyncio.to_thread(
        wait_until, lambda: len(outcomes) >= count, 300, f"{more} more requests are answered"
    )
