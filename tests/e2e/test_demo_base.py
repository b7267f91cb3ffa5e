"""What the embedded base and its first adapter are worth, asked as an app asks them."""

import asyncio

import httpx
import pytest

from deploy.demo.company import BEFORE, Row, routing_rows
from tests.scale import Scale
from tests.stack import START_SECONDS, Stack

NUM_ITEMS = 500
# The traffic that the adapter was made from (deploy/demo/adapt.py): its seed, and at least its rows.
MADE_FROM = (11, 3000)
_AT_ONCE = 16


@pytest.mark.prove
@pytest.mark.timeout(START_SECONDS + 1800)
async def test_the_first_adapter_knows_queues_that_the_base_does_not(
    stack: Stack, scale: Scale
) -> None:
    """On requests that neither has seen, the adapter names the right queue more often."""
    assert stack.strop("releases", "list", "support")["champion"] == 2
    rows = held_out_rows()
    headers = stack.headers
    async with httpx.AsyncClient(base_url=stack.url, headers=headers, timeout=300) as client:
        base, adapter = [await percent_right(client, model, rows) for model in ("base", "support")]
    assert adapter > base
    scale.record(
        "demo_base",
        queues=len(BEFORE.labels),
        items=len(rows),
        base_percent=base,
        adapter_percent=adapter,
    )


def held_out_rows() -> list[Row]:
    """Return rows of other traffic, without those that the adapter's own had by chance."""
    seen = {text_of(row) for row in routing_rows(BEFORE, *MADE_FROM)}
    rows = routing_rows(BEFORE, MADE_FROM[0] + 1000, 2 * NUM_ITEMS)
    fresh = [row for row in rows if text_of(row) not in seen][:NUM_ITEMS]
    assert len(fresh) == NUM_ITEMS
    return fresh


async def percent_right(client: httpx.AsyncClient, model: str, rows: list[Row]) -> float:
    """Return how many answers are exactly the right queue, in percent."""
    slots = asyncio.Semaphore(_AT_ONCE)

    async def is_right(row: Row) -> bool:
        *prompt, right = row["messages"]
        body = {"model": model, "messages": prompt, "temperature": 0, "max_tokens": 16}
        async with slots:
            answer = await client.post("/v1/chat/completions", json=body)
        assert answer.status_code == 200, answer.text
        said: str = answer.json()["choices"][0]["message"]["content"]
        return said.strip() == right["content"]

    found = await asyncio.gather(*(is_right(row) for row in rows))
    return round(100 * sum(found) / len(found), 1)


def text_of(row: Row) -> str:
    """Return what the customer wrote."""
    text: str = row["messages"][1]["content"]
    return text
