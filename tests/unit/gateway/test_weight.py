"""What an engine has to compile is weighed; what is text to it is not."""

from typing import Any

import pytest

from gateway.dialects.chat import CHAT
from gateway.dialects.endpoint import Endpoint
from gateway.dialects.messages import MESSAGES
from gateway.dialects.responses import RESPONSES
from gateway.policy.fields import authorise
from gateway.policy.patterns import cost_of
from serving.errors import InvalidRequestError
from tests.unit.gateway.test_compiled import formatted, tools


def properties(count: int, each: Any = True, **more: Any) -> dict[str, Any]:
    """Return the schema of an object with so many properties."""
    return {"type": "object", "properties": {f"p{n}": each for n in range(count)}, **more}


def pattern(text: str) -> dict[str, Any]:
    """Return the schema of a text like that."""
    return {"type": "string", "pattern": text}


NUMBER = {"type": "number", "minimum": -1, "maximum": 1}
COUNTED = properties(1, minProperties=1, maxProperties=1)
SCHEMAS: list[tuple[Any, Any]] = [
    (properties(1000), properties(1001)),
    (properties(128, NUMBER), properties(129, NUMBER)),
    (properties(256, {"format": "date"}), properties(257, {"format": "date"})),
    (properties(16, minProperties=5), properties(17, minProperties=5)),
    (properties(16, maxProperties=5), properties(17, maxProperties=5)),
    (properties(16, COUNTED), properties(17, COUNTED)),
    (pattern("^[a-z]{1,1414}$"), pattern("^[a-z]{1,1415}$")),
    (pattern(r"^(\d{1,3}\.){3}[\w-]{1,256}$"), pattern("((a{1,99}){1,99}){1,99}")),
    (properties(30, pattern("^[a-z]{1,256}$")), properties(31, pattern("^[a-z]{1,256}$"))),
    (properties(2, {"format": {}}), pattern("a" + "{9}" * 8)),
    (properties(200, pattern("[" * 256)), properties(300, pattern("[" * 256))),
    ({"const": {"pattern": "a" * 256}}, {"const": {"pattern": "[" * 1_000_000}}),
    ({"default": "a{" + "9" * 9_000}, {"default": {"pattern": "a{" + "9" * 9_000 + "}"}}),
]


@pytest.mark.parametrize("endpoint", [CHAT, RESPONSES, MESSAGES])
@pytest.mark.parametrize(("light", "heavy"), SCHEMAS)
def test_there_is_a_most_of_what_is_dear_to_compile(
    endpoint: Endpoint, light: Any, heavy: Any
) -> None:
    """For the form of an answer as for tools that have to be called; else no schema is looked at."""
    turns = [{"role": "user", "content": "Hello"}]
    least = {"model": "m", "messages": turns, "input": "Hello", "max_tokens": 5}
    for asked in (formatted(endpoint, light), tools(endpoint, light, strict=True)):
        assert authorise(endpoint, least | asked).schemas is not None
    for asked in (formatted(endpoint, heavy), tools(endpoint, heavy, strict=True)):
        with pytest.raises(InvalidRequestError) as caught:
            authorise(endpoint, least | asked)
        assert caught.value.param == next(iter(asked))
    assert authorise(endpoint, least | tools(endpoint, heavy)).schemas is None


@pytest.mark.parametrize(
    ("text", "cost"),
    [
        ("", 0),
        ("^[a-z]+(a|b)*$", 0),
        ("a{5}", 25),
        ("[^{5}]{2,5}", 25),
        (r"\({5}", 25),
        ("(abc){10}", 300),
        ("(a{10}b){10}", 100 + 1100),
        ("a{5,}", 25),
        ("a{,5}", 25),
        ("{9}{}", 0),
        (")){9}((", 0),
        ("{" + "9" * 200, 0),
    ],
)
def test_what_a_pattern_counts_costs_its_square(text: str, cost: int) -> None:
    """Whatever stands in groups as often as they do; odd ones cost something and break nothing."""
    assert cost_of(text) == cost + 30 * len(text)
