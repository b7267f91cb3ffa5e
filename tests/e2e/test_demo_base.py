"""What the embedded base and its first adapter are worth, asked as an app asks them."""

import pytest

from deploy.demo.adapt import AdapterSpec
from deploy.demo.company import BEFORE, routing_rows
from tests.rows import answers, apart, percent_right
from tests.scale import Scale
from tests.stack import START_SECONDS, Stack

NUM_ITEMS = 500


@pytest.mark.prove
@pytest.mark.timeout(START_SECONDS + 1800)
async def test_the_first_adapter_knows_queues_that_the_base_does_not(
    stack: Stack, scale: Scale
) -> None:
    """On requests that neither has seen, the adapter names the right queue more often."""
    assert stack.strop("releases", "list", "support")["champion"] == 2
    made = AdapterSpec()
    own = routing_rows(BEFORE, made.seed, made.num_train + made.num_valid + made.num_eval)
    rows = apart(routing_rows, NUM_ITEMS, seed=1011, known=own)
    base, adapter = [
        percent_right(await answers(stack.url, stack.headers, model, rows), rows)
        for model in ("base", "support")
    ]
    assert adapter > base
    scale.record(
        "demo_base",
        queues=len(BEFORE.labels),
        items=len(rows),
        base_percent=base,
        adapter_percent=adapter,
    )
