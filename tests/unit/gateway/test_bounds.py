"""How much of what is dear a request may ask for, in each dialect."""

from typing import Any

import pytest

from gateway.dialects.chat import CHAT
from gateway.dialects.completions import COMPLETIONS
from gateway.dialects.endpoint import Endpoint
from gateway.dialects.messages import MESSAGES
from gateway.dialects.responses import RESPONSES
from gateway.policy.checks import UnfitError

FUNCTION = {"name": "f", "parameters": {"type": "object"}}

MOST: list[tuple[Endpoint, str, Any, Any]] = [
    (CHAT, "n", 8, 9),
    (COMPLETIONS, "n", 8, 9),
    (CHAT, "top_logprobs", 5, 6),
    (COMPLETIONS, "logprobs", 5, 6),
    (RESPONSES, "top_logprobs", 5, 6),
    *((endpoint, "stop", "a" * 64, "a" * 65) for endpoint in (CHAT, COMPLETIONS, RESPONSES)),
    *((endpoint, "stop", ["a"] * 4, ["a"] * 5) for endpoint in (CHAT, COMPLETIONS, RESPONSES)),
    (MESSAGES, "stop_sequences", ["a" * 64] * 4, ["a" * 65]),
    (MESSAGES, "stop_sequences", ["a"] * 4, ["a"] * 5),
    *(
        (endpoint, "logit_bias", {str(n): 1 for n in range(300)}, {str(n): 1 for n in range(301)})
        for endpoint in (CHAT, COMPLETIONS, RESPONSES)
    ),
    (CHAT, "tools", *([{"type": "function", "function": FUNCTION}] * n for n in (64, 65))),
    (RESPONSES, "tools", *([{"type": "function", **FUNCTION}] * n for n in (64, 65))),
    (MESSAGES, "tools", *([{"name": "f", "input_schema": {}}] * n for n in (64, 65))),
]


@pytest.mark.parametrize(("endpoint", "field", "most", "more"), MOST)
def test_there_is_a_most_of_all_that_is_dear(
    endpoint: Endpoint, field: str, most: Any, more: Any
) -> None:
    """The bound itself goes on as it is; one more does not."""
    check = endpoint.fields[field]
    assert check(most) == most
    with pytest.raises(UnfitError):
        check(more)
