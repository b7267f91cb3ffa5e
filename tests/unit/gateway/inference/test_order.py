"""What the engine is sent, and how much of it is reserved."""

from pathlib import Path
from typing import Any

import pytest

from gateway.dialects.chat import CHAT
from gateway.dialects.completions import COMPLETIONS, EMBEDDINGS
from gateway.dialects.endpoint import Endpoint
from gateway.inference.order import make_order
from gateway.policy.fields import authorise
from serving.ids import Signer
from serving.routing.catalog import Principal
from serving.routing.choose import Choice
from serving.settings import Settings
from serving.types import Arm, Role

TURN = {"messages": [{"role": "user", "content": "Hello"}]}


@pytest.mark.parametrize(
    ("endpoint", "fields", "num_tokens"),
    [
        (CHAT, TURN | {"max_tokens": 5}, 5),
        (CHAT, TURN | {"max_tokens": 5, "n": 3}, 15),
        (CHAT, TURN | {"max_tokens": 1, "max_completion_tokens": 5000}, 5000),
        (CHAT, TURN | {"max_tokens": 5000, "max_completion_tokens": 1}, 5000),
        (COMPLETIONS, {"prompt": "a", "max_tokens": 5}, 5),
        (COMPLETIONS, {"prompt": [1, 2, 3], "max_tokens": 5}, 5),
        (COMPLETIONS, {"prompt": ["a", "b", "c"], "max_tokens": 5, "n": 2}, 30),
        (COMPLETIONS, {"prompt": [[1], [2, 3]], "max_tokens": 5}, 10),
        (EMBEDDINGS, {"input": ["a", "b"]}, 0),
    ],
)
def test_all_answers_that_may_come_are_reserved(
    tmp_path: Path, endpoint: Endpoint, fields: dict[str, Any], num_tokens: int
) -> None:
    """As long as each may be: to every prompt, as often as it is asked."""
    order = make_order(
        signer=Signer({1: b"k" * 32}),
        pool=Settings(home=tmp_path).pool("default"),
        endpoint=endpoint,
        principal=Principal(key_id="k", tenant="acme", role=Role.APP),
        asked=authorise(endpoint, {"model": "base", **fields}),
        choice=Choice(pool="default", arm=Arm.CHAMPION, propensity=1.0),
        conversation=None,
    )
    assert order.num_answer_tokens == num_tokens
