"""What functions were called with: JSON in a text, which engines read again for their templates."""

import re
from typing import Any, Final

from gateway.policy.checks import MAX_NESTING, UnfitError, any_text, takes

_MAX_BRACKETS: Final = 5_000
# Possessive, and to the end where a string has none: each character is looked at once.
_STRING: Final = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)', re.DOTALL)
_BRACKET: Final = re.compile(r"[\[{\]}]")


@takes(any_text.schema)
def arguments(value: Any) -> Any:
    """Take a text that, read as JSON, is not too deep for an engine to read.

    vLLM answers 500 to what Python's recursion is not enough for, as if it were broken itself.
    """
    if any_text(value).count("[") + value.count("{") > MAX_NESTING:  # as hardly ever
        _check_depth(_STRING.sub("", value))
    return value


def _check_depth(structure: str) -> None:
    if sum(map(structure.count, "[]{}")) > 2 * _MAX_BRACKETS:
        raise UnfitError(f"JSON of at most {_MAX_BRACKETS} arrays and objects")
    depth = 0
    for bracket in _BRACKET.findall(structure):
        depth += 1 if bracket in "[{" else -1
        if depth > MAX_NESTING:
            raise UnfitError(f"nested at most {MAX_NESTING} deep")
