"""Splitting and cleaning: fixed by hash, whole by group, free of what the test holds."""

from hypothesis import given, settings
from hypothesis import strategies as st

from retrain.cleaning import clean
from retrain.examples import Example, Message
from retrain.split import MIN_TEST_ITEMS, group_of, split

KEY = b"a key of this home"


def example(question: str, answer: str = "yes", group: str | None = None) -> Example:
    """Return a one-turn example."""
    return Example(
        prompt=(Message("user", question),), answer=Message("assistant", answer), group=group
    )


def test_the_test_part_is_the_larger_of_a_tenth_and_500() -> None:
    """2,000 rows keep 500 for the test, 10,000 keep 1,000; without a test nothing is held back."""
    for num_rows, expected in ((2_000, MIN_TEST_ITEMS), (10_000, 1_000)):
        rows = [example(f"question number {number}") for number in range(num_rows)]
        train, valid, test = split(rows, KEY, wants_test=True)
        assert len(test) == expected
        assert len(train) + len(valid) + len(test) == num_rows
        assert split(rows, KEY, wants_test=False)[2] == []


@settings(deadline=None, max_examples=50)
@given(st.lists(st.integers(0, 20), min_size=1, max_size=80))
def test_no_group_is_split_apart(groups: list[int]) -> None:
    """Whatever the groups: each is in one part only, and no row is lost or doubled."""
    rows = [example(f"row {at}", group=str(group)) for at, group in enumerate(groups)]
    parts = split(rows, KEY, wants_test=True)
    homes = [{group_of(row) for row in part} for part in parts]
    assert sum(len(home) for home in homes) == len(set.union(*homes))
    assert sorted(row.prompt_text for part in parts for row in part) == sorted(
        row.prompt_text for row in rows
    )


def test_the_split_does_not_depend_on_the_order_of_rows() -> None:
    """The same rows in another order fall into the same parts."""
    rows = [example(f"question number {number}") for number in range(1_200)]
    forwards, backwards = split(rows, KEY, wants_test=True), split(rows[::-1], KEY, wants_test=True)
    for one, other in zip(forwards, backwards, strict=True):
        assert {row.content_hash for row in one} == {row.content_hash for row in other}


def test_duplicates_and_overlaps_are_dropped_and_counted() -> None:
    """A row twice stays once; a row whose prompt the evaluation holds goes, case and marks aside."""
    held_out = [example("Where is my parcel, please?"), example("Cancel it.")]
    rows = [
        example("where is my parcel please"),
        example("The kettle is broken."),
        example("The kettle is broken."),
        example("The kettle is broken.", "no"),
    ]
    cleaned = clean(rows, held_out)
    assert [row.answer_text for row in cleaned.kept] == ["yes", "no"]
    assert (cleaned.num_duplicates, cleaned.num_overlaps) == (1, 1)


def test_a_long_shared_passage_is_an_overlap_and_boilerplate_is_not() -> None:
    """Thirteen words in a row from one item give it away; an instruction that all share does not."""
    instruction = "Read the following request of a customer and name the one queue that it belongs to"
    passage = (
        "since last thursday the small green light on the left side of my coffee maker keeps blinking"
    )
    held_out = [example(f"{instruction}\n\n{passage}"), example(f"{instruction}\n\nno sound")]
    rows = [
        example(f"{instruction}\n\nHello, {passage}! Thanks a lot to everyone."),
        example(f"{instruction}\n\nthe mixer has no lid"),
    ]
    assert clean(rows, held_out).kept == rows[1:]
