"""What a JSON Schema costs an engine that compiles it: counted by what is dear.

vLLM reads a schema in its API server, where nobody else is answered meanwhile, and compiles it in the
engine. Seconds for both, with xgrammar 0.2.8 of vLLM 0.32 on one of two busy cores (2026-11-23):

    most that is taken                                  more
    1,000 properties                        1.3         4,900: over 25
    128 numbers with both bounds            0.8         1,600: over 25
    128 formats                             0.3         1,500: 14
    16 patterns of 18 counts up to 100      0.7         128: 7
    16 objects of 16 properties, 8 to 12    0.2         one of 200 properties, at least 5: over 25
"""

from collections import Counter
from collections.abc import Mapping
from typing import Any, Final

from gateway.policy.checks import Check, UnfitError, takes

MAX_COUNTED_PROPERTIES: Final = 16
"""Of an object that has `minProperties` or `maxProperties`: time grows with their cube and worse."""

_BOUNDS: Final = "formats and bounds of numbers"
_COUNTED: Final = "numbers of properties"
_PATTERNS: Final = "patterns"
_PROPERTIES: Final = "properties"
_DEAR: Final[Mapping[str, str]] = {
    "exclusiveMaximum": _BOUNDS,
    "exclusiveMinimum": _BOUNDS,
    "format": _BOUNDS,
    "maxProperties": _COUNTED,
    "maximum": _BOUNDS,
    "minProperties": _COUNTED,
    "minimum": _BOUNDS,
    "multipleOf": _BOUNDS,
    "pattern": _PATTERNS,
}
_MOST: Final[Mapping[str, int]] = {_PROPERTIES: 1_000, _BOUNDS: 256, _PATTERNS: 16, _COUNTED: 32}


def light(times: int) -> Check:
    """Take JSON in which schemas have no more of what is dear than `times` what one may have."""
    most = {kind: times * number for kind, number in _MOST.items()}
    told = ", ".join(f"{number:,} {kind}" for kind, number in most.items())

    @takes({"description": f"At most {told}."})
    def check(value: Any) -> Any:
        counts = _weigh(value)
        for kind, number in most.items():
            if counts[kind] > number:
                raise UnfitError(f"JSON Schema of at most {number} {kind}")
        return value

    return check


def _weigh(value: Any) -> Counter[str]:
    counts: Counter[str] = Counter()
    left = [value]
    while left:
        item = left.pop()
        if isinstance(item, list):
            left.extend(item)
        elif isinstance(item, dict):
            left.extend(item.values())
            for key, inner in item.items():
                if isinstance(inner, dict):  # no keyword, but a property that is called like one
                    counts[_PROPERTIES] += len(inner) if key == "properties" else 0
                elif key in _DEAR:
                    counts[_DEAR[key]] += 1
    return counts
