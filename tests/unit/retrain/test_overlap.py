"""Overlap: contamination is found, and what all rows of a task share is not taken for it."""

from random import Random

import pytest

from retrain.examples import Example, Message
from retrain.overlap import OverlapIndex

INSTRUCTION = (
    "You are the front desk of a large shop. Read what the customer writes below, think about "
    "it, and answer with the name of the one queue that should take the request."
)
WORDS = [f"word{number}" for number in range(400)]


def example(text: str) -> Example:
    """Return an example with this question."""
    return Example(prompt=(Message("user", text),), answer=Message("assistant", "Ledger"))


def requests(seed: int, count: int, num_words: int) -> list[str]:
    """Return texts of random words, whose first word is one of a few."""
    rng = Random(seed)  # noqa: S311 - a test, no secret
    first = WORDS[:60]
    return [
        " ".join([rng.choice(first), *rng.choices(WORDS, k=num_words - 1)]) for _ in range(count)
    ]


def test_an_item_is_found_whole_in_passages_and_with_a_word_changed() -> None:
    """The same prompt, a long passage of it, or a short one with a word changed in its middle."""
    long, short = requests(1, 1, 40)[0], requests(2, 1, 18)[0]
    index = OverlapIndex([[example(long), example(short)]])
    assert index.holds(example(long.upper()))
    assert index.holds(example("Dear all, " + " ".join(long.split()[10:25]) + " and so on"))
    assert index.holds(example(short.replace(short.split()[9], "other")))
    assert not index.holds(example(requests(3, 1, 40)[0]))


@pytest.mark.parametrize("num_words", [4, 12, 40])
def test_a_long_instruction_that_all_rows_share_is_no_overlap(num_words: int) -> None:
    """Rows of one task differ in what follows the instruction, and often begin with one word."""
    items = [example(f"{INSTRUCTION}\n\n{text}") for text in requests(4, 500, num_words)]
    rows = [example(f"{INSTRUCTION}\n\n{text}") for text in requests(5, 1_500, num_words)]
    index = OverlapIndex([items])
    assert [row for row in rows if index.holds(row)] == []


def test_an_item_behind_a_shared_instruction_is_found() -> None:
    """The instruction hides nothing: an item's own words are found behind it and without it."""
    texts = requests(6, 50, 30)
    index = OverlapIndex([[example(f"{INSTRUCTION}\n\n{text}") for text in texts]])
    assert index.holds(example(f"{INSTRUCTION}\n\n{texts[0]}"))
    assert index.holds(example(texts[1]))


def test_an_item_that_a_later_set_repeats_with_an_edit_is_found() -> None:
    """A mended revision beside its predecessor: what both hold is the item's, not boilerplate."""
    texts = requests(7, 50, 30)
    mended = [text.replace(text.split()[15], "other") for text in texts]
    sets = [
        [example(f"{INSTRUCTION}\n\n{text}") for text in revision] for revision in (texts, mended)
    ]
    index = OverlapIndex(sets)
    assert all(index.holds(example(" ".join(text.split()[:15]))) for text in texts)
    assert not index.holds(example(f"{INSTRUCTION}\n\n{requests(8, 1, 30)[0]}"))


def test_turns_of_one_conversation_are_no_boilerplate() -> None:
    """Two turns of it are items; a third one is found by what all of them begin with."""
    opening = requests(9, 1, 30)[0]
    index = OverlapIndex([[example(opening), example(f"{opening} yes, since then")]])
    assert index.holds(example(f"{opening} no"))
