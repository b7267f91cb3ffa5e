"""Which part of a dataset an example belongs to: by a keyed hash of its group, so for ever."""

from collections.abc import Sequence
from hashlib import blake2b
from math import ceil

from retrain.examples import Example
from retrain.overlap import normalise
from retrain.sources import Gathered

MIN_TEST_ITEMS = 500
VALIDATION_SHARE = 0.10


def group_of(example: Example) -> str:
    """Return what must not be split apart: the given group, else the normalised prompt."""
    return example.group or normalise(example.prompt_text)


def place_of(group: str, key: bytes) -> float:
    """Return where in [0, 1) a group stands. Keyed, so that nobody can write rows into the test."""
    return int.from_bytes(blake2b(group.encode(), key=key, digest_size=8).digest(), "big") / 2**64


def place_rows(
    rows: Sequence[Gathered], key: bytes, *, wants_test: bool
) -> tuple[list[Gathered], list[Gathered], list[Gathered]]:
    """Split into training, validation and test, whole groups at a time.

    Args:
        rows: selected rows.
        key: secret of the home; the same key puts the same group into the same part.
        wants_test: False where there is an evaluation set; nothing is held back then.

    Returns:
        Training (about 90 % of what the test leaves), validation, test: the larger of 10 % and
        500 rows, as far as whole groups allow; empty without `wants_test`.
    """
    groups = {id(row): group_of(row.example) for row in rows}
    ordered = sorted(rows, key=lambda row: (place_of(groups[id(row)], key), groups[id(row)]))
    names = [groups[id(row)] for row in ordered]
    wanted = max(ceil(len(rows) / 10), MIN_TEST_ITEMS) if wants_test else 0
    first = _whole_groups(names, min(wanted, len(rows)))
    second = first + _whole_groups(names[first:], ceil((len(rows) - first) * VALIDATION_SHARE))
    return ordered[second:], ordered[first:second], ordered[:first]


def _whole_groups(names: Sequence[str], cut: int) -> int:
    while 0 < cut < len(names) and names[cut - 1] == names[cut]:
        cut += 1
    return cut
