"""What a JSON Schema costs an engine that compiles it: counted by what is dear.

vLLM reads a schema in its API server, where nobody else is answered meanwhile, and compiles it in the
engine. Seconds for both, with xgrammar 0.2.8 of vLLM 0.32 on one of two busy cores (2026-11-23):

    most that is taken                                  more
    1,000 properties                        1.3         4,900: over 25
    128 numbers with both bounds            0.8         1,600: over 25
    256 formats                             0.6         1,500: 14
    patterns that cost 2,000,000            0.0 to 1.3  any character {0,4096} times: 13
    16 objects of 16 properties, 8 to 12    0.2         one of 200 properties, at least 5: over 25
"""

from collections import Counter
from collections.abc import Mapping
from typing import Any, Final

from gateway.policy.checks import UnfitError
from gateway.policy.patterns import cost_of

_MAX_COUNTED_PROPERTIES: Final = 16
"""Of an object that has `minProperties` or `maxProperties`: time grows with their cube and worse."""

_PROPERTIES: Final = "properties"
_BOUNDS: Final = "formats and bounds of numbers"
_COUNTED: Final = "numbers of properties"
_PATTERNS: Final = "steps for its patterns: what is counted takes the square of its count"
_MOST: Final[Mapping[str, int]] = {
    _PROPERTIES: 1_000,
    _BOUNDS: 256,
    _COUNTED: 32,
    _PATTERNS: 2_000_000,
}
_BOUNDING: Final = frozenset(
    {"exclusiveMaximum", "exclusiveMinimum", "format", "maximum", "minimum", "multipleOf"}
)
_COUNTING: Final = frozenset({"maxProperties", "minProperties"})


def light(value: Any) -> Any:
    """Take schemas, within any JSON, that have no more than so much of what is dear."""
    weight = Counter[str]()
    left = [value]
    while left:
        item = left.pop()
        if isinstance(item, list | tuple):
            left.extend(item)
        elif isinstance(item, dict):
            left.extend(item.values())
            _weigh(item, weight)
    return value


def _weigh(schema: dict[str, Any], weight: Counter[str]) -> None:
    properties = schema.get("properties")
    num_properties = len(properties) if isinstance(properties, dict) else 0
    _add(weight, _PROPERTIES, num_properties)
    for key, value in schema.items():
        if isinstance(value, dict):
            continue  # no keyword, but a property that is called like one
        if key in _BOUNDING:
            _add(weight, _BOUNDS, 1)
        elif key in _COUNTING:
            _add(weight, _COUNTED, 1)
            if num_properties > _MAX_COUNTED_PROPERTIES:
                raise UnfitError(
                    f"JSON Schema without `{key}` beside more than {_MAX_COUNTED_PROPERTIES} properties"
                )
        elif key == "pattern" and isinstance(value, str):
            _add(weight, _PATTERNS, cost_of(value))


def _add(weight: Counter[str], kind: str, number: int) -> None:
    weight[kind] += number
    if weight[kind] > _MOST[kind]:  # at once: the rest may be long
        raise UnfitError(f"JSON Schema of at most {_MOST[kind]:,} {kind}")
