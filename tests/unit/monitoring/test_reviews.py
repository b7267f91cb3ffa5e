"""Reviews: each answer considered once, handed out once at a time, judged by one person."""

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest
from sqlmodel import select, update

from monitoring.reviews import (
    ReviewItem,
    find_review,
    next_review,
    sample_reviews,
    submit_review,
)
from monitoring.sampling import is_sampled
from serving.errors import ConflictError, InvalidRequestError, NotFoundError
from serving.settings import Settings
from serving.store.aliases import create_alias, id_of
from serving.store.database import Database
from serving.store.learning import Review, Verdict
from serving.store.tables import Alias, Inference
from serving.types import Task
from tests.answered import answer_chats, say

CLAIM = timedelta(minutes=15)


@pytest.fixture
async def alias(database: Database, tmp_path: Path) -> Alias:
    """The alias `triage`."""
    async with database.session() as session:
        return await create_alias(
            session, Settings(home=tmp_path), name="triage", tenant="default", task=Task.CLASSIFY
        )


async def ask(database: Database, alias: Alias, reviewer: str = "ada") -> ReviewItem | None:
    """Ask for the next review."""
    async with database.session() as session:
        return await next_review(session, alias, reviewer=reviewer, claim=CLAIM)


async def dealt(database: Database) -> dict[str, float]:
    """Return what was dealt, and with which share."""
    async with database.session() as session:
        return {row.inference_id: row.share for row in await session.exec(select(Review))}


async def test_every_answer_is_considered_once(database: Database, alias: Alias) -> None:
    """The id decides; an answer keeps the share it was considered with, dealt or not."""
    early = [begin.id for begin in await answer_chats(database, id_of(alias), 60)]
    expected = {id_ for id_ in early if is_sampled(id_, 0.3)}
    assert await sample_reviews(database, 0.3) == len(expected)
    assert await sample_reviews(database, 1.0) == 0
    (late,) = await answer_chats(database, id_of(alias), 1)
    assert await sample_reviews(database, 1.0) == 1
    assert await dealt(database) == dict.fromkeys(expected, 0.3) | {late.id: 1.0}
    async with database.session() as session:
        shares = list(await session.exec(select(Inference.review_share)))
    assert sorted(shares) == [0.3] * 60 + [1.0]


async def test_more_than_a_batch_by_several_workers(
    database: Database, alias: Alias, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Workers share the work; nothing is dealt twice and nothing is forgotten."""
    monkeypatch.setattr("monitoring.reviews._BATCH", 7)
    begins = await answer_chats(database, id_of(alias), 40)
    await asyncio.gather(*(sample_reviews(database, 1.0) for _ in range(3)))
    await sample_reviews(database, 1.0)
    assert set(await dealt(database)) == {begin.id for begin in begins}


async def test_what_nobody_reviews_is_not_dealt(database: Database, alias: Alias) -> None:
    """Other endpoints, other tenants' questions and answers without an alias stay out."""
    await answer_chats(database, id_of(alias), 1, endpoint="/v1/completions")
    await answer_chats(database, id_of(alias), 1, tenant="acme")
    async with database.session() as session:
        await session.exec(update(Inference).values(review_share=None))
    assert await sample_reviews(database, 1.0) == 0


async def test_the_oldest_is_handed_out_first_and_once(database: Database, alias: Alias) -> None:
    """Who asks again gets the next one; a claim that has run out is handed out again."""
    begins = await answer_chats(database, id_of(alias), 2)
    await sample_reviews(database, 1.0)
    first, second, none = [await ask(database, alias) for _ in range(3)]
    assert first is not None
    assert second is not None
    assert none is None
    assert [first.review.inference_id, second.review.inference_id] == [
        begin.id for begin in sorted(begins, key=lambda begin: begin.id)
    ]
    assert (first.prompt[0]["role"], first.answer) == ("user", "billing")
    async with database.session() as session:
        await session.exec(update(Review).values(claimed_until=Review.sampled_at))
    again = await ask(database, alias, "bob")
    assert again is not None
    assert again.review.inference_id == first.review.inference_id
    assert again.review.claimed_by == "bob"


async def test_two_who_ask_at_once_get_different_ones(database: Database, alias: Alias) -> None:
    """Of ten askers and ten answers each gets its own."""
    await answer_chats(database, id_of(alias), 10)
    await sample_reviews(database, 1.0)
    got = await asyncio.gather(*(ask(database, alias, f"r{i}") for i in range(10)))
    assert len({item.review.inference_id for item in got if item}) == 10


async def test_a_verdict_is_given_by_one_person(database: Database, alias: Alias) -> None:
    """Who gave it may change it; another one is told who was first."""
    (begin,) = await answer_chats(database, id_of(alias), 1)
    await sample_reviews(database, 1.0)
    async with database.session() as session:
        await submit_review(session, begin.id, reviewer="ada", verdict=Verdict.CORRECT)
    async with database.session() as session:
        changed = await submit_review(
            session, begin.id, reviewer="ada", verdict=Verdict.INCORRECT, corrected="returns"
        )
    assert (changed.verdict, changed.corrected) == (Verdict.INCORRECT, "returns")
    async with database.session() as session:
        with pytest.raises(ConflictError, match="ada"):
            await submit_review(session, begin.id, reviewer="bob", verdict=Verdict.CORRECT)
    assert await ask(database, alias) is None


async def test_a_demonstration_is_kept_as_it_was_accepted(database: Database, alias: Alias) -> None:
    """Only the rater's newest word can be accepted; what they write later changes nothing."""
    (begin,) = await answer_chats(database, id_of(alias), 1)
    await sample_reviews(database, 1.0)
    await say(database, begin, id="a" * 32, demonstration="shipping", given_at_ms=1)
    given = await say(database, begin, id="a" * 32, demonstration="returns")
    withdrawn = await say(database, begin, id="b" * 32, demonstration="x", given_at_ms=1)
    await say(database, begin, id="b" * 32)
    item = await ask(database, alias)
    assert item is not None
    assert [(found.feedback_id, found.text) for found in item.demonstrations] == [
        (given.id, "returns")
    ]
    async with database.session() as session:
        with pytest.raises(NotFoundError, match="withdrawn"):
            await submit_review(
                session,
                begin.id,
                reviewer="ada",
                verdict=Verdict.INCORRECT,
                accept_demonstration=withdrawn.id,
            )
    async with database.session() as session:
        await submit_review(
            session,
            begin.id,
            reviewer="ada",
            verdict=Verdict.INCORRECT,
            accept_demonstration=given.id,
        )
    await say(database, begin, id="a" * 32, demonstration="something else")
    async with database.session() as session:
        review = await find_review(session, begin.id)
    assert (review.corrected, review.feedback_id) == ("returns", given.id)


@pytest.mark.parametrize(
    ("verdict", "corrected", "accepted"),
    [
        (Verdict.CORRECT, "returns", None),
        (Verdict.CORRECT, None, "f" * 32),
        (Verdict.INCORRECT, "returns", "f" * 32),
        (Verdict.INCORRECT, "  ", None),
        (Verdict.INCORRECT, "a\0b", None),
        (Verdict.INCORRECT, "a" * 65_537, None),
    ],
)
async def test_a_correction_has_to_make_sense(
    database: Database, verdict: Verdict, corrected: str | None, accepted: str | None
) -> None:
    """None for what is correct, one at most, and a text."""
    async with database.session() as session:
        with pytest.raises(InvalidRequestError):
            await submit_review(
                session,
                "any",
                reviewer="ada",
                verdict=verdict,
                corrected=corrected,
                accept_demonstration=accepted,
            )


async def test_what_was_not_dealt_cannot_be_judged(database: Database) -> None:
    """A verdict on an answer of one's own choice would not be of a sample."""
    async with database.session() as session:
        with pytest.raises(NotFoundError, match="not up for review"):
            await submit_review(session, "x" * 48, reviewer="ada", verdict=Verdict.CORRECT)
