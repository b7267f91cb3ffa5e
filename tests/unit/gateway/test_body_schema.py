"""The document's bodies against the policy: what the one says, the other does."""

from copy import deepcopy
from typing import Any

import jsonschema_rs
import pytest
from hypothesis import given
from hypothesis import settings as examples_of
from hypothesis import strategies as st

from gateway.dialects.chat import CHAT
from gateway.dialects.completions import COMPLETIONS
from gateway.dialects.endpoint import Endpoint
from gateway.dialects.responses import RESPONSES
from gateway.dialects.served import ENDPOINTS, ranges
from gateway.policy.checks import Check, UnfitError
from gateway.policy.fields import authorise, body_schema
from serving.errors import InvalidRequestError
from tests.document import allowed_bodies, document
from tests.scale import examples
from tests.unit.gateway.test_bounds import MOST
from tests.unit.gateway.test_dialect_policy import LEAST, REFUSED, TAKEN
from tests.unit.gateway.test_policy import CONVERSATION, anything, schema_format

UNSAYABLE = (
    "whole number",  # JSON Schema takes 5.0 for one
    "free of whole numbers over 64 bits",
    "JSON of at most",
    "JSON Schema of at most",
    "JSON Schema without",
    "nested at most",
    "parts and tool calls",  # of all messages together
    "is not served here",  # to any key without exceptions
)
"""Why the policy may refuse what the document allows."""

KEYWORDS = ("type", "pattern", "patternProperties")
BARE = LEAST | {
    CHAT: {"model": "m", "messages": CONVERSATION},
    COMPLETIONS: {"model": "m", "prompt": "a"},
}
BODIES = [
    *((endpoint, {field: value}) for endpoint, field, value in TAKEN),
    *((endpoint, {field: value}) for endpoint, field, value, _ in REFUSED),
    *((endpoint, {field: value}) for endpoint, field, *values in MOST for value in values),
    *((CHAT, {"response_format": schema_format({key: "a" * 257})}) for key in KEYWORDS),
    *((RESPONSES, {"metadata": {key: "a"}}) for key in ("a" * 64, "a" * 65, "a\0")),
    *((RESPONSES, {field: value}) for field in RESPONSES.stateful for value in (None, False, 0)),
    *((endpoint, {name: None}) for endpoint in BARE for name in endpoint.fields),
]
CHOICES = [
    (name, check)
    for endpoint in ENDPOINTS
    for name, check in endpoint.fields.items()
    if "enum" in check.schema
]


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda endpoint: endpoint.path)
@pytest.mark.timeout(3600)
@examples_of(max_examples=examples(8, full=200))
@given(data=st.data())
def test_the_document_says_what_is_taken(endpoint: Endpoint, data: st.DataObject) -> None:
    """Of anything that it allows, and of the same with a fault in it."""
    body = data.draw(allowed_bodies(endpoint.path))
    schema = jsonschema_rs.validator_for(body_schema(endpoint))
    for found in (body, spoil(data, body)):
        assert_one_says_what_the_other_does(endpoint, schema, found)


def test_the_document_says_what_is_taken_by_the_tables() -> None:
    """So it does of all that other tests try, bounds first."""
    schemas = {
        endpoint: jsonschema_rs.validator_for(body_schema(endpoint)) for endpoint in ENDPOINTS
    }
    for endpoint, fields in BODIES:
        body = BARE[endpoint] | fields
        assert_one_says_what_the_other_does(endpoint, schemas[endpoint], body)


def assert_one_says_what_the_other_does(
    endpoint: Endpoint, schema: jsonschema_rs.Validator, body: dict[str, Any]
) -> None:
    """What the document allows is taken, but for what it cannot say; what it excludes is refused."""
    refusal = refusal_of(endpoint, body)
    if schema.is_valid(body):
        assert refusal is None or any(words in refusal for words in UNSAYABLE)
    else:
        assert refusal is not None


def spoil(data: st.DataObject, body: dict[str, Any]) -> dict[str, Any]:
    """Return a body with another value somewhere in it."""
    spoilt = deepcopy(body)
    place: Any = spoilt
    key: Any = data.draw(st.sampled_from(sorted(spoilt)))
    while place[key] and isinstance(place[key], dict | list) and data.draw(st.booleans()):
        place = place[key]
        key = data.draw(
            st.sampled_from(sorted(place) if isinstance(place, dict) else range(len(place)))
        )
    place[key] = data.draw(anything)
    return spoilt


def refusal_of(endpoint: Endpoint, body: dict[str, Any]) -> str | None:
    """Return why a body may not go on; None: it may."""
    try:
        authorise(endpoint, body)
    except InvalidRequestError as error:
        return error.message
    return None


@given(st.integers() | st.integers(-3, 3) | st.floats(allow_nan=False) | st.booleans())
def test_the_document_has_the_bounds_of_numbers(value: float) -> None:
    """To the last one, but for whole numbers with a point."""
    for name, check in ranges():
        is_odd = isinstance(value, float) and check.schema["type"] == "integer"
        assert is_odd or is_taken(check, value) is is_allowed(check, value), name


@given(anything)
def test_the_document_has_the_words_that_are_taken(value: Any) -> None:
    """All of them, and none besides."""
    for name, check in CHOICES:
        assert is_taken(check, value) is is_allowed(check, value), name
        assert all(is_taken(check, word) for word in check.schema["enum"]), name


def is_allowed(check: Check, value: Any) -> bool:
    """Whether a value holds by what the document says of a check."""
    return bool(jsonschema_rs.is_valid(check.schema, value))


def is_taken(check: Check, value: Any) -> bool:
    """Whether a value passes a check."""
    try:
        check(value)
    except UnfitError:
        return False
    return True


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda endpoint: endpoint.path)
def test_the_document_has_the_tables(endpoint: Endpoint) -> None:
    """Each field, with something said of it."""
    operation = document()["paths"][endpoint.path]["post"]
    schema = operation["requestBody"]["content"]["application/json"]["schema"]
    assert set(schema["properties"]) == {"model", *endpoint.fields, *endpoint.stateful}
    assert all(schema["properties"].values())
    assert schema["required"] == ["model", *endpoint.required]
