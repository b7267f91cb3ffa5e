"""Which part of a dataset an example belongs to: by a keyed hash of its group, whole groups."""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from math import ceil

from retrain.examples import Example
from retrain.overlap import OverlapIndex, normalise
from retrain.sources import Gathered

MIN_TEST_ITEMS = 500
"""Fewer evaluation items carry no gate."""
TEST_SHARE = 0.10
VALIDATION_SHARE = 0.10


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """A selection, split."""

    train: Sequence[Gathered]
    valid: Sequence[Gathered]
    test: Sequence[Gathered] = ()


def group_of(example: Example) -> str:
    """Return what must not be split apart: the given group, else the normalised prompt."""
    return example.group or normalise(example.prompt_text)


def place_of(group: str, key: bytes) -> float:
    """Return where in [0, 1) a group stands. Keyed, so that nobody can write rows into the test."""
    return int.from_bytes(blake2b(group.encode(), key=key, digest_size=8).digest(), "big") / 2**64


def place_rows(rows: Sequence[Gathered], key: bytes, *, wants_test: bool) -> Parts:
    """Split into training, validation and test, whole groups at a time.

    Args:
        rows: selected rows.
        key: secret of the home; the same rows and key make the same parts.
        wants_test: False where there is an evaluation set; nothing is held back then.

    Returns:
        Training (about 90 % of what the test leaves), validation, test: the larger of 10 % and
        500 rows, as far as whole groups allow; empty without `wants_test`.
    """
    named = [(group_of(row.example), row) for row in rows]
    ordered = sorted(named, key=lambda pair: (place_of(pair[0], key), pair[0]))
    groups = [group for group, _ in ordered]
    placed = [row for _, row in ordered]
    test = _whole_groups(groups, _num_test(len(rows)) if wants_test else 0)
    valid = test + _whole_groups(groups[test:], ceil((len(rows) - test) * VALIDATION_SHARE))
    return Parts(train=placed[valid:], valid=placed[test:valid], test=placed[:test])


def take_apart(parts: Parts) -> tuple[Parts, int]:
    """Take out of training and validation what overlaps the test, though its group is another.

    Returns:
        The parts, and how many rows were taken out.
    """
    index = OverlapIndex([[row.example for row in parts.test]])
    train, valid = (
        [row for row in part if not index.holds(row.example)] for part in (parts.train, parts.valid)
    )
    num_rows = len(parts.train) + len(parts.valid) - len(train) - len(valid)
    return Parts(train=train, valid=valid, test=parts.test), num_rows


def num_rows_needed(num_train: int, *, wants_test: bool) -> int:
    """Return how many rows leave `num_train` in training, if each is a group of its own."""
    num_rows = num_train
    while True:
        rest = num_rows - (_num_test(num_rows) if wants_test else 0)
        missing = num_train - (rest - ceil(rest * VALIDATION_SHARE))
        if missing <= 0:
            return num_rows
        num_rows += missing


def _num_test(num_rows: int) -> int:
    return min(max(ceil(num_rows * TEST_SHARE), MIN_TEST_ITEMS), num_rows)


def _whole_groups(groups: Sequence[str], cut: int) -> int:
    while 0 < cut < len(groups) and groups[cut - 1] == groups[cut]:
        cut += 1
    return cut
