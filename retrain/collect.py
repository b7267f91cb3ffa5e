"""From rows of the database to what a dataset is made of: the reading side of learning."""

from datetime import datetime
from typing import Any

import msgspec
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from retrain.examples import Example, Message, example_of
from retrain.sources import Gathered, Judgement
from serving.store.inferences import answer_of, messages_of
from serving.store.learning import EvaluationSet, ExampleRow, Import, Review, Source, Verdict
from serving.store.tables import Alias, Feedback, Inference


async def gather_rows(
    session: AsyncSession, alias: Alias, system_prompt: str | None
) -> list[Gathered]:
    """Return every row that might train the alias: imported, corrected, reviewed, demonstrated."""
    return [
        *await _imported(session, alias),
        *await _reviewed(session, alias, system_prompt),
    ]


async def gather_judgements(session: AsyncSession, alias: Alias) -> list[Judgement]:
    """Return what reviewers found of the alias's answers."""
    return [
        Judgement(output=answer_of(inference) or "", verdict=review.verdict, at=review.reviewed_at)
        for review, inference, _ in await _judged(session, alias)
        if review.verdict is not None and review.reviewed_at is not None
    ]


async def gather_evaluation(session: AsyncSession, alias: Alias) -> list[Example]:
    """Return the items of all of the alias's evaluation sets, old ones too."""
    rows = await session.exec(
        select(ExampleRow).where(
            ExampleRow.alias_id == alias.id, col(ExampleRow.evaluation_set_id).is_not(None)
        )
    )
    return [example_of(row.content) for row in rows]


async def items_of(session: AsyncSession, evaluation_set: EvaluationSet) -> list[Example]:
    """Return the items of one evaluation set, in their order."""
    rows = await session.exec(
        select(ExampleRow)
        .where(ExampleRow.evaluation_set_id == evaluation_set.id)
        .order_by(col(ExampleRow.position))
    )
    return [example_of(row.content) for row in rows]


def prompt_of(inference: Inference, system_prompt: str | None) -> tuple[Message, ...]:
    """Return the turns of a chat without the alias's own system prompt; empty if it was no chat."""
    turns = [_turn(turn) for turn in messages_of(inference)]
    if turns and turns[0] == Message("system", system_prompt):
        turns = turns[1:]
    return tuple(turns)


async def _imported(session: AsyncSession, alias: Alias) -> list[Gathered]:
    rows = await session.exec(
        select(ExampleRow)
        .join(Import, col(Import.id) == ExampleRow.import_id)
        .where(
            ExampleRow.alias_id == alias.id,
            col(ExampleRow.evaluation_set_id).is_(None),
            col(Import.replaced_at).is_(None),
        )
        .order_by(col(ExampleRow.id))
    )
    return [
        Gathered(
            example=example_of(row.content),
            source=Source.IMPORT,
            source_id=str(row.id),
            at=row.at,
        )
        for row in rows
    ]


async def _reviewed(
    session: AsyncSession, alias: Alias, system_prompt: str | None
) -> list[Gathered]:
    found = [
        _gathered(review, inference, rater, system_prompt)
        for review, inference, rater in await _judged(session, alias)
        if inference.is_trainable
    ]
    return [row for row in found if row is not None]


async def _judged(session: AsyncSession, alias: Alias) -> list[Any]:
    """Return (review, inference, rater whose demonstration was accepted) of every judged answer."""
    raters = select(Feedback.id, Feedback.rater).distinct().subquery()
    rows = await session.exec(
        select(Review, Inference, raters.c.rater)
        .join(
            Inference,
            (col(Inference.id) == Review.inference_id)
            & (col(Inference.begun_at) == Review.begun_at),
        )
        .join(raters, raters.c.id == Review.feedback_id, isouter=True)
        .where(Review.alias_id == alias.id, col(Review.verdict).is_not(None))
        .order_by(col(Review.reviewed_at))
    )
    return list(rows)


def _gathered(
    review: Review, inference: Inference, rater: str | None, system_prompt: str | None
) -> Gathered | None:
    prompt = prompt_of(inference, system_prompt)
    answer, source = _best_answer(review, inference)
    if not prompt or not answer:
        return None
    at = review.reviewed_at
    assert isinstance(at, datetime)
    return Gathered(
        example=Example(prompt=prompt, answer=Message("assistant", answer)),
        source=source,
        source_id=inference.id,
        at=at,
        rater=rater,
        reviewer=review.reviewer,
    )


def _best_answer(review: Review, inference: Inference) -> tuple[str | None, Source]:
    if review.corrected is not None:
        is_users = review.feedback_id is not None
        return review.corrected, Source.DEMONSTRATION if is_users else Source.CORRECTION
    is_correct = review.verdict is Verdict.CORRECT
    return (answer_of(inference) if is_correct else None), Source.REVIEWED


def _turn(turn: dict[str, Any]) -> Message:
    known = {name: turn[name] for name in Message.__struct_fields__ if name in turn}
    return msgspec.convert(known, Message)
