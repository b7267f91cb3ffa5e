"""Halden's queues: unknown to the base, decided by the request, and changed once."""

import json
from collections.abc import Callable

import pytest

from deploy.demo.company import (
    AFTER,
    BEFORE,
    EXTRACTION_PROMPT,
    LAUNCHED,
    RENAMED,
    ROUTING_PROMPT,
    extraction_rows,
    routing_rows,
)
from deploy.demo.corpus import Chat, chats, desk_work, drills
from deploy.demo.others import make_desks
from deploy.demo.phrases import PRODUCTS, TOPICS

LABELS = {*BEFORE.labels, *AFTER.labels}


def test_the_base_knows_no_label_of_the_company() -> None:
    """No part of a queue's name, nor the company's own words, stands in the pre-training texts."""
    words = {part.lower() for label in LABELS for part in label.split("-")}
    names = {"halden", *(name.lower() for p in LAUNCHED for name in p.name.split())}
    texts = [*chats(7, 3_000), *drills(8, 1_000), *desk_work(10, 2_000)]
    text = json.dumps(texts).lower()
    spoken = set("".join(c if c.isalpha() else " " for c in text).split())
    assert not spoken & (words | names)


@pytest.mark.parametrize("draw", [chats, drills, desk_work])
def test_the_corpus_is_distinct_and_repeatable(draw: Callable[[int, int], list[Chat]]) -> None:
    """No chat stands in the corpus twice, and a seed gives the same corpus."""
    texts = [json.dumps(chat) for chat in draw(1, 2_000)]
    assert len(set(texts)) == 2_000
    assert texts == [json.dumps(chat) for chat in draw(1, 2_000)]


def test_a_desk_has_one_name_per_queue() -> None:
    """What a desk answers can be told apart, and desks of two companies differ."""
    first, second, *_ = make_desks(3)
    assert len(set(first.queues.values())) == len(first.queues)
    assert first.queues["delivery"] != second.queues["delivery"]


def test_the_change_renames_two_queues_and_adds_one() -> None:
    """After the change two names are gone, and three are new: two renamed and one launched."""
    assert len(set(BEFORE.labels) - set(AFTER.labels)) == len(RENAMED) == 2
    assert len(set(AFTER.labels) - set(BEFORE.labels)) == len(RENAMED) + len(LAUNCHED) == 3
    assert not set(LAUNCHED) & set(PRODUCTS)


def test_the_demo_has_a_moderate_number_of_queues() -> None:
    """Sixteen queues take all the traffic, and each of them takes some."""
    labels = [row["messages"][-1]["content"] for row in routing_rows(BEFORE, 1, 1_500)]
    assert set(labels) == set(BEFORE.labels)
    assert len(BEFORE.labels) == 16
    assert min(labels.count(label) for label in BEFORE.labels) >= 20


def test_the_change_hurts_enough_to_be_seen() -> None:
    """At least a fifth of the new traffic has an answer that no old adapter can give."""
    rows = routing_rows(AFTER, 2, 1_000)
    new = [row for row in rows if row["messages"][-1]["content"] not in BEFORE.labels]
    assert 0.2 <= len(new) / len(rows) <= 0.5


def test_rows_are_distinct_and_carry_the_alias_prompt() -> None:
    """A row is system, user, assistant; no request comes twice, so a split by position is clean."""
    rows = routing_rows(BEFORE, 3, 2_000)
    assert {tuple(m["role"] for m in row["messages"]) for row in rows} == {
        ("system", "user", "assistant")
    }
    assert {row["messages"][0]["content"] for row in rows} == {ROUTING_PROMPT}
    assert len({row["messages"][1]["content"] for row in rows}) == 2_000


def test_extraction_answers_with_a_ticket() -> None:
    """The second task is another prompt over the same traffic; the answer is valid JSON."""
    for row in extraction_rows(AFTER, 4, 200):
        system, user, assistant = (message["content"] for message in row["messages"])
        ticket = json.loads(assistant)
        assert system == EXTRACTION_PROMPT
        assert ticket["product"] in user
        assert ticket["prio"] in {"P1", "P2", "P3"}
        assert ticket["about"] in TOPICS
