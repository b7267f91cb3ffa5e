"""Splitting: fixed by a keyed hash, whole groups at a time."""

from datetime import UTC, datetime

from hypothesis import given, settings
from hypothesis import strategies as st

from retrain.examples import Example, Message
from retrain.sources import Gathered
from retrain.split import MIN_TEST_ITEMS, group_of, num_rows_needed, place_rows
from serving.store.learning import Source
from tests.scale import examples

KEY = b"a key of this home"


def row(question: str, group: str | None = None) -> Gathered:
    """Return an imported one-turn row."""
    example = Example(
        prompt=(Message("user", question),), answer=Message("assistant", "yes"), group=group
    )
    return Gathered(
        example=example,
        source=Source.IMPORT,
        source_id="1",
        at=datetime(2026, 1, 1, tzinfo=UTC),
    )


def test_the_test_part_is_the_larger_of_a_tenth_and_500() -> None:
    """2,000 rows keep 500 for the test, 10,000 keep 1,000; without a test nothing is held back."""
    for num_rows, expected in ((2_000, MIN_TEST_ITEMS), (10_000, 1_000)):
        rows = [row(f"question number {number}") for number in range(num_rows)]
        parts = place_rows(rows, KEY, wants_test=True)
        assert len(parts.test) == expected
        assert len(parts.train) + len(parts.valid) + len(parts.test) == num_rows
        assert not place_rows(rows, KEY, wants_test=False).test


@given(st.lists(st.integers(0, 20), min_size=1, max_size=80))
def test_no_group_is_split_apart(groups: list[int]) -> None:
    """Whatever the groups: each is in one part only, and no row is lost or doubled."""
    rows = [row(f"row {at}", group=str(group)) for at, group in enumerate(groups)]
    parts = place_rows(rows, KEY, wants_test=False)
    train, valid = ({group_of(one.example) for one in part} for part in (parts.train, parts.valid))
    assert train.isdisjoint(valid)
    placed = [one.example.prompt_text for one in (*parts.train, *parts.valid)]
    assert sorted(placed) == sorted(one.example.prompt_text for one in rows)


def test_the_split_does_not_depend_on_the_order_of_rows() -> None:
    """The same rows in another order fall into the same parts; another key deals them anew."""
    rows = [row(f"question number {number}") for number in range(1_200)]
    forwards = place_rows(rows, KEY, wants_test=True)
    assert place_rows(rows[::-1], KEY, wants_test=True) == forwards
    assert place_rows(rows, b"another", wants_test=True) != forwards


@settings(max_examples=examples(20, full=500))
@given(st.integers(1, 12_000), st.booleans())
def test_the_rows_needed_are_the_fewest_that_are_enough(num_train: int, wants_test: bool) -> None:
    """With that many rows as many train as wanted; with one less, fewer do."""
    needed = num_rows_needed(num_train, wants_test=wants_test)
    rows = [row("x", group=str(number)) for number in range(needed)]
    if needed < 3_000:  # the rest by arithmetic alone
        assert len(place_rows(rows, KEY, wants_test=wants_test).train) >= num_train
        assert len(place_rows(rows[1:], KEY, wants_test=wants_test).train) < num_train
