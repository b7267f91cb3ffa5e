"""Reviews: a known share of answers is dealt to people, who say whether each was right.

sample_reviews   the worker's job: every answer is considered once, and dealt or not
next_review      the oldest that waits, claimed for whoever asks
submit_review    the verdict
"""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.orm import load_only
from sqlmodel import col, or_, select
from sqlmodel.ext.asyncio.session import AsyncSession

from monitoring.sampling import is_sampled
from serving.errors import ConflictError, InvalidRequestError, NotFoundError
from serving.store.database import Database
from serving.store.inferences import is_conversation, messages_of, readable_answer
from serving.store.learning import Review, Verdict
from serving.store.tables import Alias, Feedback, Inference, utc_now
from serving.types import InferenceStatus

_BATCH = 1000
_CONSIDERED: tuple[Any, ...] = (
    Inference.id,
    Inference.begun_at,
    Inference.alias_id,
    Inference.tenant,
    Inference.endpoint,
    Inference.is_truncated,
)
MAX_CORRECTED_CHARACTERS = 65_536


@dataclass(frozen=True, slots=True, kw_only=True)
class Demonstration:
    """What a user says the answer should have been."""

    feedback_id: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReviewItem:
    """What a reviewer is shown."""

    review: Review
    prompt: list[dict[str, Any]]
    answer: str
    demonstrations: list[Demonstration]


async def sample_reviews(database: Database, share: float) -> int:
    """Consider every finished answer that was not considered yet; return how many were dealt.

    Chats only, and only of the alias's own tenant: what other tenants ask is not for its people.
    An inference keeps the share with which it was considered, dealt or not.
    """
    num_sampled = 0
    while True:
        async with database.session() as session:
            considered = await _consider(session, share)
            dealt = [
                _review_of(inference, share)
                for inference, owner in considered
                if _is_dealt(inference, owner, share)
            ]
            session.add_all(dealt)
        num_sampled += len(dealt)
        if len(considered) < _BATCH:
            return num_sampled


async def next_review(
    session: AsyncSession, alias: Alias, *, reviewer: str, claim: timedelta
) -> ReviewItem | None:
    """Claim the oldest review that waits; None where none does.

    What was handed out is not handed out again, to the same reviewer either, until its claim has
    run out: who cannot judge one goes on to the next.
    """
    now = utc_now()
    is_free = or_(col(Review.claimed_until).is_(None), col(Review.claimed_until) <= now)
    query = (
        select(Review, Inference)
        .join(Inference, _is_same_inference())
        .where(Review.alias_id == alias.id, col(Review.verdict).is_(None), is_free)
        .order_by(col(Review.begun_at), col(Review.inference_id))
        .limit(1)
        .with_for_update(of=Review, skip_locked=True)
    )
    found = (await session.exec(query)).first()
    if found is None:
        return None
    review, inference = found
    review.claimed_by, review.claimed_until = reviewer, now + claim
    return ReviewItem(
        review=review,
        prompt=messages_of(inference),
        answer=readable_answer(inference),
        demonstrations=await _demonstrations(session, inference.id),
    )


async def submit_review(
    session: AsyncSession,
    inference_id: str,
    *,
    reviewer: str,
    verdict: Verdict,
    corrected: str | None = None,
    accept_demonstration: str | None = None,
) -> Review:
    """Keep a verdict. Only who gave it may change it.

    Args:
        corrected: what the answer should have been.
        accept_demonstration: the feedback whose demonstration is taken for that.

    Raises:
        NotFoundError: the inference is not up for review, or has no such demonstration.
        InvalidRequestError: a correction of a correct answer, an empty one, or two at once.
        ConflictError: another reviewer was first.
    """
    _check_correction(verdict, corrected, accept_demonstration)
    review = await find_review(session, inference_id, is_locked=True)
    if review.verdict is not None and review.reviewer != reviewer:
        raise ConflictError(
            f"{review.reviewer} has judged {inference_id} already: {review.verdict}. "
            "Ask for the next one."
        )
    if accept_demonstration is not None:
        corrected = await _text_of(session, inference_id, accept_demonstration)
    review.reviewer, review.reviewed_at = reviewer, utc_now()
    review.verdict = verdict
    review.corrected, review.feedback_id = corrected, accept_demonstration
    return review


async def find_review(
    session: AsyncSession, inference_id: str, *, is_locked: bool = False
) -> Review:
    """Return one review.

    Raises:
        NotFoundError: the inference was not dealt to reviewers.
    """
    query = select(Review).where(Review.inference_id == inference_id)
    if is_locked:
        query = query.with_for_update().execution_options(populate_existing=True)
    review = (await session.exec(query)).one_or_none()
    if review is None:
        raise not_up_for_review(inference_id)
    return review


def not_up_for_review(inference_id: str) -> NotFoundError:
    """Return the error for what was not dealt, or not to this reviewer: the two are one answer."""
    return NotFoundError(
        f"{inference_id[:80]!r} is not up for review. `strop reviews next ALIAS` hands out what is."
    )


async def _consider(session: AsyncSession, share: float) -> list[tuple[Inference, str]]:
    """Mark the next answers as considered with this share; return them, each with its alias's owner."""
    query = (
        select(Inference, Alias.tenant)
        .join(Alias, col(Alias.id) == Inference.alias_id)
        .where(
            col(Inference.review_share).is_(None),
            Inference.status == InferenceStatus.OK,
            col(Inference.alias_id).is_not(None),
        )
        .order_by(col(Inference.begun_at))
        .limit(_BATCH)
        # Not what was said: it may be long, and plays no part.
        .options(load_only(*_CONSIDERED))
        .with_for_update(of=Inference, skip_locked=True)
    )
    considered = list((await session.exec(query)).all())
    for inference, _ in considered:
        inference.review_share = share
    await session.flush()
    return considered


def _is_dealt(inference: Inference, owner: str, share: float) -> bool:
    is_whole_chat = is_conversation(inference) and not inference.is_truncated
    return is_whole_chat and inference.tenant == owner and is_sampled(inference.id, share)


def _review_of(inference: Inference, share: float) -> Review:
    assert inference.alias_id is not None
    return Review(
        inference_id=inference.id,
        alias_id=inference.alias_id,
        tenant=inference.tenant,
        begun_at=inference.begun_at,
        share=share,
    )


async def _demonstrations(session: AsyncSession, inference_id: str) -> list[Demonstration]:
    """Return each rater's newest word on an inference, where it holds a demonstration."""
    newest = (
        select(Feedback.id, Feedback.demonstration, Feedback.given_at)
        .where(Feedback.inference_id == inference_id)
        .ext(distinct_on(col(Feedback.id)))
        .order_by(col(Feedback.id), col(Feedback.given_at).desc())
        .subquery()
    )
    query = select(newest.c.id, newest.c.demonstration).order_by(newest.c.given_at)
    found = await session.exec(query.where(newest.c.demonstration.is_not(None)))
    return [Demonstration(feedback_id=id_, text=text) for id_, text in found]


async def _text_of(session: AsyncSession, inference_id: str, feedback_id: str) -> str:
    for found in await _demonstrations(session, inference_id):
        if found.feedback_id == feedback_id:
            return found.text
    raise NotFoundError(
        f"{inference_id} has no demonstration {feedback_id[:80]!r}, or it was withdrawn."
    )


def _check_correction(verdict: Verdict, corrected: str | None, accepted: str | None) -> None:
    if corrected is None and accepted is None:
        return
    if verdict is not Verdict.INCORRECT:
        raise InvalidRequestError(
            "A correct answer needs no correction: say `incorrect`, or leave the correction out.",
            param="verdict",
        )
    if corrected is None:
        return
    if accepted is not None:
        raise InvalidRequestError(
            "Either write the corrected answer or accept a demonstration, not both.",
            param="corrected",
        )
    if not corrected.strip() or "\0" in corrected:
        raise InvalidRequestError(
            "The corrected answer is empty or holds a NUL character.", param="corrected"
        )
    if len(corrected) > MAX_CORRECTED_CHARACTERS:
        raise InvalidRequestError(
            f"The corrected answer is longer than {MAX_CORRECTED_CHARACTERS} characters.",
            param="corrected",
        )


def _is_same_inference() -> Any:
    # The time names the partition.
    return (col(Inference.id) == Review.inference_id) & (col(Inference.begun_at) == Review.begun_at)
