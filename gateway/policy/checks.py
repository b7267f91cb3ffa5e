"""Bounds on single request fields. A check returns what may be forwarded, or raises naming the field."""

from collections.abc import Callable
from typing import Any

from serving.errors import InvalidRequestError

Check = Callable[[Any, str], Any]
"""(value, the field's name) -> the value to forward."""

MAX_NESTING = 32


def refuse(name: str, wanted: str) -> InvalidRequestError:
    """Return the error for a field that is not as wanted."""
    return InvalidRequestError(f"`{name}` must be {wanted}.", param=name, code="invalid_value")


def number(low: float, high: float) -> Check:
    """Take a number from `low` to `high`."""

    def check(value: Any, name: str) -> Any:
        # bool is an int in Python, and no number in JSON.
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise refuse(name, "a number")
        if not low <= value <= high:
            raise refuse(name, f"from {low} to {high}")
        return value

    return check


def integer(low: int, high: int) -> Check:
    """Take a whole number from `low` to `high`."""

    def check(value: Any, name: str) -> Any:
        if isinstance(value, bool) or not isinstance(value, int):
            raise refuse(name, "a whole number")
        if not low <= value <= high:
            raise refuse(name, f"from {low} to {high}")
        return value

    return check


def flag(value: Any, name: str) -> Any:
    """Take true or false."""
    if not isinstance(value, bool):
        raise refuse(name, "true or false")
    return value


def text(max_length: int) -> Check:
    """Take a string of at most `max_length` characters."""

    def check(value: Any, name: str) -> Any:
        if not isinstance(value, str):
            raise refuse(name, "a string")
        if len(value) > max_length:
            raise refuse(name, f"at most {max_length} characters long")
        return value

    return check


def label(max_length: int) -> Check:
    """Take a string that names something: no NUL, which no database keeps."""
    is_text = text(max_length)

    def check(value: Any, name: str) -> Any:
        if "\0" in is_text(value, name):
            raise refuse(name, "without NUL characters")
        return value

    return check


def one_of(*words: str) -> Check:
    """Take one of these words."""

    def check(value: Any, name: str) -> Any:
        if value not in words:
            raise refuse(name, "one of " + ", ".join(words))
        return value

    return check


def array(max_items: int, each: Check, *, min_items: int = 0) -> Check:
    """Take an array whose items pass `each`."""

    def check(value: Any, name: str) -> Any:
        if not isinstance(value, list):
            raise refuse(name, "an array")
        if not min_items <= len(value) <= max_items:
            raise refuse(name, f"an array of {min_items} to {max_items} items")
        return [each(item, f"{name}[{index}]") for index, item in enumerate(value)]

    return check


def text_or_texts(max_items: int, max_length: int) -> Check:
    """Take a string or an array of strings."""
    single, several = text(max_length), array(max_items, text(max_length))

    def check(value: Any, name: str) -> Any:
        return single(value, name) if isinstance(value, str) else several(value, name)

    return check


def record(value: Any, name: str) -> dict[str, Any]:
    """Take an object."""
    if not isinstance(value, dict):
        raise refuse(name, "an object")
    return value


def pick(value: Any, name: str, fields: dict[str, Check]) -> dict[str, Any]:
    """Take an object's known fields; the others stay behind."""
    found = record(value, name)
    return {
        key: check(found[key], f"{name}.{key}")
        for key, check in fields.items()
        if found.get(key) is not None
    }


def nested(value: Any, name: str) -> Any:
    """Take any JSON, unless it is nested too deeply or holds a number that JSON readers differ on."""
    _walk(value, name, MAX_NESTING)
    return value


def _walk(value: Any, name: str, depth: int) -> None:
    if depth == 0:
        raise refuse(name, f"nested at most {MAX_NESTING} deep")
    if isinstance(value, dict):
        for inner in value.values():
            _walk(inner, name, depth - 1)
    elif isinstance(value, list):
        for inner in value:
            _walk(inner, name, depth - 1)
    elif isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise refuse(name, "free of whole numbers over 64 bits")
