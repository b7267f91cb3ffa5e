"""Bounds on single request fields. A check returns what may be forwarded, or raises saying what is wanted.

Bodies have megabytes of small values, and one process answers everybody: a check takes well under
a microsecond, and where the unfit value stands is only put together once there is one.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from serving.errors import InvalidRequestError

Check = Callable[[Any], Any]
"""value -> the value to forward."""

MAX_NESTING = 32


class UnfitError(Exception):
    """A value that may not go on: what is wanted, and the path to it from where it was found."""

    def __init__(self, wanted: str, path: str = "") -> None:
        super().__init__(wanted, path)
        self.wanted = wanted
        self.path = path

    def inside(self, step: str) -> "UnfitError":
        """Return the same, seen from the value one step further out."""
        return UnfitError(self.wanted, step + self.path)


def hold(value: Any, name: str, check: Check) -> Any:
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


def at(step: str, value: Any, check: Check) -> Any:
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

    def up_to(self, high: float) -> "Range":
        """Return the same with another upper bound."""
        return Range(self.low, high, is_whole=self._is_whole)


def number(low: float, high: float) -> Range:
    """Take a number from `low` to `high`."""
    return Range(low, high, is_whole=False)


def integer(low: int, high: int) -> Range:
    """Take a whole number from `low` to `high`."""
    return Range(low, high, is_whole=True)


def flag(value: Any) -> Any:
    """Take true or false."""
    if not isinstance(value, bool):
        raise UnfitError("true or false")
    return value


def text(max_length: int) -> Check:
    """Take a string of at most `max_length` characters."""

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

    def check(value: Any) -> Any:
        if "\0" in is_text(value):
            raise UnfitError("without NUL characters")
        return value

    return check


def one_of(*words: str) -> Check:
    """Take one of these words."""

    def check(value: Any) -> Any:
        if value not in words:
            raise UnfitError("one of " + ", ".join(words))
        return value

    return check


def array(max_items: int, each: Check, *, min_items: int = 0) -> Check:
    """Take an array whose items pass `each`."""

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


def text_or_texts(max_items: int, max_length: int) -> Check:
    """Take a string or an array of strings."""
    single, several = text(max_length), array(max_items, text(max_length))

    def check(value: Any) -> Any:
        return single(value) if isinstance(value, str) else several(value)

    return check


def integers(max_items: int, low: int, high: int, *, min_items: int = 0) -> Check:
    """Take an array of whole numbers, looked at as a whole: prompts come as a million tokens."""
    wanted = f"an array of {min_items} to {max_items} whole numbers from {low} to {high}"

    def check(value: Any) -> Any:
        if not isinstance(value, list) or not min_items <= len(value) <= max_items:
            raise UnfitError(wanted)
        if value and (set(map(type, value)) != {int} or min(value) < low or max(value) > high):
            raise UnfitError(wanted)
        return value

    return check


def record(value: Any) -> dict[str, Any]:
    """Take an object."""
    if not isinstance(value, dict):
        raise UnfitError("an object")
    return value


def pick(value: Any, fields: Mapping[str, Check], needed: Iterable[str] = ()) -> dict[str, Any]:
    """Take an object's known fields, some of which have to be there; the others stay behind."""
    found = record(value)
    picked = {}
    for key, check in fields.items():
        inner = found.get(key)
        if inner is not None:
            try:
                picked[key] = check(inner)
            except UnfitError as fault:
                raise fault.inside(f".{key}") from None
    for key in needed:
        if key not in picked:
            raise UnfitError("there", f".{key}")
    return picked


Kinds = Mapping[str, tuple[Mapping[str, Check], Mapping[str, Check]]]
"""`type` -> the fields that an object of that type needs, and those that it may have."""


def of_kind(kinds: Kinds, *, default: str | None = None) -> Check:
    """Take an object whose `type` says what else it may have."""
    known = one_of(*kinds)
    fields = {kind: {**needed, **others} for kind, (needed, others) in kinds.items()}

    def check(value: Any) -> Any:
        kind = at(".type", record(value).get("type", default), known)
        return {"type": kind, **pick(value, fields[kind], kinds[kind][0])}

    return check


def nested(max_values: int) -> Check:
    """Take any JSON of at most so many values, nested MAX_NESTING deep, with whole numbers of 64
    bits: JSON readers differ on longer ones."""

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
