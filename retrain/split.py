"""Which part of a dataset an example belongs to: by a keyed hash of its group, so for ever."""

from collections.abc import Sequence
from hashlib import blake2b
from math import ceil

from retrain.cleaning import normalise
from retrain.examples import Example

MIN_TEST_ITEMS = 500
VALIDATION_SHARE = 0.10


def group_of(example: Example) -> str:
    """Return what must not be split apart: the given group, else the normalised prompt."""
    return example.group or normalise(example.prompt_text)


def place_of(group: str, key: bytes) -> float:
    """Return where in [0, 1) a group stands. Keyed, so that nobody can write rows into the test."""
    return int.from_bytes(blake2b(group.encode(), key=key, digest_size=8).digest(), "big") / 2**64


def split(
    examples: Sequence[Example], key: bytes, *, wants_test: bool
) -> tuple[list[Example], list[Example], list[Example]]:
    """Split into training, validation and test, whole groups at a time.

    Args:
        examples: cleaned rows.
        key: secret of the home; the same key puts the same group into the same part.
        wants_test: False where an evaluation set was imported; nothing is held back then.

    Returns:
        Training (about 90 % of what the test leaves), validation, test: the larger of 10 % and
        500 rows, as far as whole groups allow; empty without `wants_test`.
    """
    by_place = sorted(examples, key=lambda example: place_of(group_of(example), key))
    wanted = max(ceil(len(examples) / 10), MIN_TEST_ITEMS) if wants_test else 0
    cut = _whole_groups(by_place, min(wanted, len(by_place)))
    test, rest = by_place[:cut], by_place[cut:]
    cut = _whole_groups(rest, ceil(len(rest) * VALIDATION_SHARE))
    return rest[cut:], rest[:cut], test


def _whole_groups(ordered: Sequence[Example], cut: int) -> int:
    while 0 < cut < len(ordered) and group_of(ordered[cut - 1]) == group_of(ordered[cut]):
        cut += 1
    return cut
