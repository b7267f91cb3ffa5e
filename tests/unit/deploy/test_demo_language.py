"""The grammar writes many different requests, the same ones for the same seed."""

# ruff: noqa: S311  (seeded text, no cryptography)

from itertools import islice
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from deploy.demo.language import TONES, URGENCIES, distinct_requests, mistype, write_request
from deploy.demo.phrases import INTENTS, PRODUCTS, TOPICS


def test_thirty_thousand_draws_give_twenty_thousand_requests() -> None:
    """The grammar is rich: at least two draws in three are new."""
    rng = Random(1)
    assert len({write_request(rng).text for _ in range(30_000)}) >= 20_000


@given(st.integers(min_value=0, max_value=2**32))
def test_a_seed_fixes_the_request(seed: int) -> None:
    """The same seed writes the same request with the same meaning."""
    assert write_request(Random(seed)) == write_request(Random(seed))


def test_every_meaning_is_drawn() -> None:
    """Every intent, product, tone and urgency occurs in ordinary traffic."""
    requests = list(islice(distinct_requests(Random(2)), 3_000))
    assert {request.intent for request in requests} == set(INTENTS)
    assert {request.product for request in requests} == set(PRODUCTS)
    assert {request.tone for request in requests} == set(TONES)
    assert {request.urgency for request in requests} == set(URGENCIES)


@given(st.integers(min_value=0, max_value=2**32))
def test_a_request_names_its_product(seed: int) -> None:
    """Typos never hide the product, so that extraction always has one right answer."""
    request = write_request(Random(seed))
    assert request.product.name in request.text


def test_no_slot_is_left_open() -> None:
    """No text and no summary shows a brace of the grammar."""
    requests = islice(distinct_requests(Random(3)), 3_000)
    assert not any("{" in request.text + request.summary for request in requests)


def test_requests_have_many_lengths() -> None:
    """Requests run from a few words to some sentences."""
    lengths = [len(r.text.split()) for r in islice(distinct_requests(Random(4)), 3_000)]
    assert min(lengths) <= 6
    assert max(lengths) >= 40


def test_typos_touch_some_words_only() -> None:
    """A mistyped text keeps its number of words and most of the words themselves."""
    text = "please send another parcel because this morning nothing arrived " * 20
    slips = [a != b for a, b in zip(text.split(), mistype(Random(5), text).split(), strict=True)]
    assert 0.02 < sum(slips) / len(slips) < 0.25


def test_names_are_unique() -> None:
    """An intent and a product are known by their name; there are many topics of each."""
    assert len({intent.name for intent in INTENTS}) == len(INTENTS) >= 40
    assert len({product.name for product in PRODUCTS}) == len(PRODUCTS) >= 50
    assert len(TOPICS) >= 12
