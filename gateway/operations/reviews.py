"""Reviews: what `strop reviews` and `/api/reviews` do and say."""

from collections.abc import Collection
from datetime import timedelta

from gateway.operations.resources import Json, Resources
from monitoring import reviews
from monitoring.reviews import ReviewItem
from serving.store import aliases
from serving.store.learning import Review, Verdict
from serving.store.tables import Alias


async def next_review(resources: Resources, name: str, tenant: str, *, reviewer: str) -> Json:
    """Hand out the oldest answer that waits for a verdict; `review` None: none does."""
    claim = timedelta(minutes=resources.settings.learning.claim_minutes)
    async with resources.database.session() as session:
        alias = await aliases.find_alias(session, name, tenant)
        item = await reviews.next_review(session, alias, reviewer=reviewer, claim=claim)
    return {"review": describe_item(alias, item) if item else None}


async def submit_review(
    resources: Resources,
    inference_id: str,
    *,
    reviewer: str,
    verdict: Verdict,
    corrected: str | None = None,
    accept_demonstration: str | None = None,
    tenant: str | None = None,
    only_aliases: Collection[str] | None = None,
) -> Json:
    """Keep a verdict.

    Args:
        tenant, only_aliases: where the reviewer may judge; None: everywhere.

    Raises:
        NotFoundError: the inference is not up for review, or not for this reviewer.
    """
    async with resources.database.session() as session:
        review = await reviews.find_review(session, inference_id)
        alias = await session.get_one(Alias, review.alias_id)
        is_reached = only_aliases is None or alias.name in only_aliases
        if tenant not in (None, alias.tenant) or not is_reached:
            raise reviews.not_up_for_review(inference_id)
        await reviews.submit_review(
            session,
            inference_id,
            reviewer=reviewer,
            verdict=verdict,
            corrected=corrected,
            accept_demonstration=accept_demonstration,
        )
    return describe_review(alias, review)


def describe_item(alias: Alias, item: ReviewItem) -> Json:
    """Return what a reviewer is shown."""
    return {
        "inference_id": item.review.inference_id,
        "alias": alias.name,
        "tenant": alias.tenant,
        "prompt": item.prompt,
        "answer": item.answer,
        "demonstrations": [
            {"feedback_id": found.feedback_id, "text": found.text} for found in item.demonstrations
        ],
        "sampled_at": item.review.sampled_at.isoformat(),
        "claimed_until": item.review.claimed_until and item.review.claimed_until.isoformat(),
    }


def describe_review(alias: Alias, review: Review) -> Json:
    """Return a verdict as callers see it."""
    assert review.verdict is not None
    assert review.reviewed_at is not None
    return {
        "inference_id": review.inference_id,
        "alias": alias.name,
        "tenant": alias.tenant,
        "verdict": review.verdict.value,
        "corrected": review.corrected,
        "accepted_demonstration": review.feedback_id,
        "reviewer": review.reviewer,
        "reviewed_at": review.reviewed_at.isoformat(),
    }
