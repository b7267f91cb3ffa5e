"""Bounds on single request fields. A check returns what may be forwarded, or raises saying what is wanted.

Bodies have megabytes of small values, and one process answers everybody: a check takes well under
a microsecond, and where the unfit value stands is only put together once there is one. Checks are
functions for that reason: an object that is called like one takes twice as long.
"""

from collections.abc import Callable
from typing import Any, Protocol, cast

from serving.errors import InvalidRequestError

Schema = dict[str, Any]
"""A JSON Schema."""

MAX_NESTING = 32


class Check(Protocol):
    """Returns the value to forward, or raises UnfitError."""

    @property
    def schema(self) -> Schema:
        """What it takes, for the document; where that cannot be said, the nearest that is wider."""

    def __call__(self, value: Any, /) -> Any:
        """Check a value."""


def takes(schema: Schema) -> Callable[[Callable[[Any], Any]], Check]:
    """Give a check its schema, as a function's attribute: that costs nothing when it is called."""

    def describe(check: Callable[[Any], Any]) -> Check:
        vars(check)["schema"] = schema
        return cast(Check, check)

    return describe


def either(*checks: Check) -> Schema:
    """Return the schema of what one of these takes."""
    return {"anyOf": [check.schema for check in checks]}


class UnfitError(Exception):
    """A value that may not go on: what is wanted, and the path to it from where it was found."""

    def __init__(self, wanted: str, path: str = "") -> None:
        super().__init__(wanted, path)
        self.wanted = wanted
        self.path = path

    def inside(self, step: str) -> "UnfitError":
        """Return the same, seen from the value one step further out."""
        return UnfitError(self.wanted, step + self.path)


def hold(value: Any, name: str, check: Callable[[Any], Any]) -> Any:
    """Hold a request's field against its check.

    Raises:
        InvalidRequestError: it is unfit; `param` is the path to what is.
    """
    try:
        return check(value)
    except UnfitError as fault:
        raise unfit(name, fault) from fault


def unfit(name: str, fault: UnfitError) -> InvalidRequestError:
    """Return the answer to a request whose field `name` may not go on."""
    param = name + fault.path
    return InvalidRequestError(
        f"`{param}` must be {fault.wanted}.", param=param, code="invalid_value"
    )


def at(step: str, value: Any, check: Callable[[Any], Any]) -> Any:
    """Hold a part of a value against its check; `step` leads to it, as `.role` or `[0]`."""
    try:
        return check(value)
    except UnfitError as fault:
        raise fault.inside(step) from None


class Range:
    """Takes a number from `low` to `high`."""

    __slots__ = ("_is_whole", "_kinds", "high", "low")

    def __init__(self, low: float, high: float, *, is_whole: bool) -> None:
        self.low = low
        self.high = high
        self._is_whole = is_whole
        self._kinds = (int,) if is_whole else (int, float)

    def __call__(self, value: Any) -> Any:
        """Check a value."""
        # By its very type: bool is an int in Python, and no number in JSON.
        if type(value) not in self._kinds:
            raise UnfitError("a whole number" if self._is_whole else "a number")
        if not self.low <= value <= self.high:
            raise UnfitError(f"from {self.low} to {self.high}")
        return value

    @property
    def schema(self) -> Schema:
        """What it takes. JSON Schema takes `5.0` for a whole number, too."""
        kind = "integer" if self._is_whole else "number"
        return {"type": kind, "minimum": self.low, "maximum": self.high}

    def up_to(self, high: float) -> "Range":
        """Return the same with another upper bound."""
        return Range(self.low, high, is_whole=self._is_whole)


def number(low: float, high: float) -> Range:
    """Take a number from `low` to `high`."""
    return Range(low, high, is_whole=False)


def integer(low: int, high: int) -> Range:
    """Take a whole number from `low` to `high`."""
    return Range(low, high, is_whole=True)


@takes({"type": "boolean"})
def flag(value: Any) -> Any:
    """Take true or false."""
    if not isinstance(value, bool):
        raise UnfitError("true or false")
    return value


@takes({"type": "string"})
def any_text(value: Any) -> Any:
    """Take a string; its body bounds its length."""
    if not isinstance(value, str):
        raise UnfitError("a string")
    return value


def text(max_length: int) -> Check:
    """Take a string of at most `max_length` characters."""

    @takes({"type": "string", "maxLength": max_length})
    def check(value: Any) -> Any:
        if not isinstance(value, str):
            raise UnfitError("a string")
        if len(value) > max_length:
            raise UnfitError(f"at most {max_length} characters long")
        return value

    return check


def label(max_length: int) -> Check:
    """Take a string that names something: no NUL, which no database keeps."""
    is_text = text(max_length)

    @takes(is_text.schema | {"pattern": r"^[^\u0000]*$"})
    def check(value: Any) -> Any:
        if "\0" in is_text(value):
            raise UnfitError("without NUL characters")
        return value

    return check


def one_of(*words: str) -> Check:
    """Take one of these words."""

    @takes({"type": "string", "enum": list(words)})
    def check(value: Any) -> Any:
        if value not in words:
            raise UnfitError("one of " + ", ".join(words))
        return value

    return check


def array(max_items: int, each: Check, *, min_items: int = 0) -> Check:
    """Take an array whose items pass `each`."""

    @takes({"type": "array", "items": each.schema, "minItems": min_items, "maxItems": max_items})
    def check(value: Any) -> Any:
        if not isinstance(value, list):
            raise UnfitError("an array")
        if not min_items <= len(value) <= max_items:
            raise UnfitError(f"an array of {min_items} to {max_items} items")
        fit = []
        for item in value:
            try:
                fit.append(each(item))
            except UnfitError as fault:
                raise fault.inside(f"[{len(fit)}]") from None
        return fit

    return check


def text_or(others: Check) -> Check:
    """Take a string of any length, or what `others` takes."""

    @takes(either(any_text, others))
    def check(value: Any) -> Any:
        return value if isinstance(value, str) else others(value)

    return check


def text_or_texts(max_items: int, max_length: int) -> Check:
    """Take a string or an array of strings."""
    single, several = text(max_length), array(max_items, text(max_length))

    @takes(either(single, several))
    def check(value: Any) -> Any:
        return single(value) if isinstance(value, str) else several(value)

    return check


def integers(max_items: int, low: int, high: int, *, min_items: int = 0) -> Check:
    """Take an array of whole numbers, looked at as a whole: prompts come as a million tokens."""
    wanted = f"an array of {min_items} to {max_items} whole numbers from {low} to {high}"

    @takes(array(max_items, integer(low, high), min_items=min_items).schema)
    def check(value: Any) -> Any:
        if not isinstance(value, list) or not min_items <= len(value) <= max_items:
            raise UnfitError(wanted)
        if value and (set(map(type, value)) != {int} or min(value) < low or max(value) > high):
            raise UnfitError(wanted)
        return value

    return check


def nested(max_values: int) -> Check:
    """Take any JSON of at most so many values, nested MAX_NESTING deep, with whole numbers of 64
    bits: JSON readers differ on longer ones."""
    bounds = f"at most {max_values} values, nested at most {MAX_NESTING} deep, numbers of 64 bits"

    @takes({"description": f"Any JSON of {bounds}."})
    def check(value: Any) -> Any:
        level, num_values = [value], 1
        for _ in range(MAX_NESTING):
            below: list[Any] = []
            for item in level:
                if isinstance(item, dict):
                    below.extend(item.values())
                elif isinstance(item, list):
                    below.extend(item)
                elif isinstance(item, int) and not -(2**63) <= item < 2**63:
                    raise UnfitError("free of whole numbers over 64 bits")
            if not below:
                return value
            num_values += len(below)
            if num_values > max_values:
                raise UnfitError(f"JSON of at most {max_values} values")
            level = below
        raise UnfitError(f"nested at most {MAX_NESTING} deep")

    return check
