"""A body is one JSON object, of no more parts than can be looked at while others wait."""

import gc
import json

import pytest

from gateway.http.body import parse_object
from serving.errors import InvalidRequestError

MANY = 100_000


def array_of(item: str, number: int) -> bytes:
    """Return a body with an array of so many items, each an array or object."""
    return f'{{"a":[{",".join([item] * number)}]}}'.encode()


@pytest.mark.parametrize("item", ["[]", "{}", '{"a":1}', "[1]"])
def test_more_arrays_and_objects_than_can_be_looked_at_are_refused(item: str) -> None:
    """However short they are; nothing is left of them that would be looked through for garbage."""
    assert len(parse_object(array_of(item, MANY - 1000))["a"]) == MANY - 1000
    gc.collect()
    with pytest.raises(
        InvalidRequestError, match=r"more than 100,000 arrays and objects"
    ) as caught:
        parse_object(array_of(item, MANY + 1000))
    assert caught.value.code == "invalid_json"
    assert gc.get_count()[0] < MANY / 10


def test_arrays_in_arrays_count_one_by_one() -> None:
    """As they do to whoever looks through them."""
    with pytest.raises(InvalidRequestError, match="arrays and objects"):
        parse_object(array_of("[" * 100 + "]" * 100, MANY // 90))


def test_brackets_in_a_text_are_a_text() -> None:
    """Code is full of them."""
    text = "[{}]" * MANY
    assert parse_object(json.dumps({"a": text}).encode()) == {"a": text}
    assert len(parse_object(array_of("1", 3 * MANY))["a"]) == 3 * MANY
