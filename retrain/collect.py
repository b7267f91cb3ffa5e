"""From rows of the database to what a dataset is made of: the reading side of learning."""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec
from sqlalchemy.dialects.postgresql import distinct_on
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from retrain.examples import Example, Message, example_of, text_of, without_system
from retrain.sources import Gathered, Judgement
from serving.store.inferences import choice_of, is_conversation, messages_of, tools_of
from serving.store.learning import (
    DatasetRow,
    EvaluationSet,
    ExampleRow,
    Import,
    Review,
    Run,
    Source,
    Verdict,
)
from serving.store.tables import Alias, Feedback, Inference, Release


@dataclass(frozen=True, slots=True, kw_only=True)
class Gathering:
    """Everything that might train an alias, and what its reviewers found."""

    rows: list[Gathered]
    judgements: list[Judgement]
    left_out: Counter[str] = field(default_factory=Counter)
    """Reviewed inferences that never train, by reason."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Judged:
    """A reviewed inference with all that was said about it."""

    review: Review
    inference: Inference
    system_prompt: str | None
    """Of the release that answered."""
    demonstration: tuple[str, str] | None
    """What the reviewer accepted, as it was then; and whose it was."""


async def gather(session: AsyncSession, alias: Alias) -> Gathering:
    """Return every row that might train the alias: imported, corrected, reviewed, demonstrated."""
    gathering = Gathering(rows=await _imported(session, alias), judgements=[])
    for judged in await _judged(session, alias):
        gathering.judgements.extend(_judgements(judged))
        found = _gathered(judged, alias)
        if isinstance(found, Gathered):
            gathering.rows.append(found)
        else:
            gathering.left_out[found] += 1
    return gathering


async def gather_evaluation(session: AsyncSession, alias: Alias) -> list[list[Example]]:
    """Return the items of each of the alias's evaluation sets, old ones too."""
    rows = await session.exec(
        select(ExampleRow.evaluation_set_id, ExampleRow.content).where(
            ExampleRow.alias_id == alias.id, col(ExampleRow.evaluation_set_id).is_not(None)
        )
    )
    own = await _system_prompts(session, alias.id)
    sets: dict[int | None, list[Example]] = {}
    for set_id, content in rows:
        sets.setdefault(set_id, []).append(_example_of(content, own))
    return list(sets.values())


async def items_of(session: AsyncSession, evaluation_set: EvaluationSet) -> list[Example]:
    """Return the items of one evaluation set, in their order."""
    contents = await session.exec(
        select(ExampleRow.content)
        .where(ExampleRow.evaluation_set_id == evaluation_set.id)
        .order_by(col(ExampleRow.position))
    )
    own = await _system_prompts(session, evaluation_set.alias_id)
    return [_example_of(content, own) for content in contents]


async def leave_out_learnt(
    session: AsyncSession, alias: Alias, examples: Sequence[Example]
) -> list[Example]:
    """Leave out what a release that serves, or served before it, was trained on: it knows these."""
    serving = (alias.champion_id, alias.challenger_id, alias.previous_id)
    hashes = await session.exec(
        select(DatasetRow.content_hash)
        .join(Run, col(Run.dataset_id) == DatasetRow.dataset_id)
        .where(col(Run.release_id).in_(serving))
    )
    learnt, own = set(hashes), await _system_prompts(session, alias.id)
    return [example for example in examples if _bare(example, own).content_hash not in learnt]


def prompt_of(inference: Inference, system_prompt: str | None) -> tuple[Message, ...] | None:
    """Return the turns of a chat without the alias's own system prompt.

    Returns:
        None for what cannot be read as turns of text: other endpoints, images, sound.
    """
    if not is_conversation(inference):
        return None
    try:
        turns = tuple(_turn(turn) for turn in messages_of(inference))
    except (msgspec.ValidationError, UnicodeEncodeError):
        return None
    return without_system(turns, [system_prompt])


def answer_of(inference: Inference) -> Message | None:
    """Return the first choice, whole; None where there is none, or less than the model had to say."""
    choice = choice_of(inference)
    message = choice.get("message")
    is_cut = inference.is_truncated or choice.get("finish_reason") == "length"
    if is_cut or not isinstance(message, dict):
        return None
    try:
        answer = _turn(message)
    except (msgspec.ValidationError, UnicodeEncodeError):
        return None
    return answer if answer.role == "assistant" and text_of(answer) else None


async def _imported(session: AsyncSession, alias: Alias) -> list[Gathered]:
    rows = await session.exec(
        select(ExampleRow.id, ExampleRow.content, ExampleRow.at)
        .join(Import, col(Import.id) == ExampleRow.import_id)
        .where(
            ExampleRow.alias_id == alias.id,
            col(ExampleRow.evaluation_set_id).is_(None),
            col(Import.replaced_at).is_(None),
        )
        .order_by(col(ExampleRow.id))
    )
    own = await _system_prompts(session, alias.id)
    return [
        Gathered(
            example=_example_of(content, own),
            source=Source.IMPORT,
            source_id=str(row_id),
            at=said_at,
        )
        for row_id, content, said_at in rows
    ]


async def _system_prompts(session: AsyncSession, alias_id: int | None) -> list[str | None]:
    """Return the system prompts that the alias's releases have, or had."""
    query = select(Release.system_prompt).where(Release.alias_id == alias_id).distinct()
    return list(await session.exec(query))


def _example_of(content: Any, own: Collection[str | None]) -> Example:
    """Read an example whose file may have carried the alias's own system prompt in every row."""
    return _bare(example_of(content), own)


def _bare(example: Example, own: Collection[str | None]) -> Example:
    return replace(example, prompt=without_system(example.prompt, own))


async def _judged(session: AsyncSession, alias: Alias) -> list[_Judged]:
    rows = await session.exec(
        select(Review, Inference, Release.system_prompt)
        .join(
            Inference,
            (col(Inference.id) == Review.inference_id)
            & (col(Inference.begun_at) == Review.begun_at),
        )
        .join(Release, col(Release.id) == Inference.release_id, isouter=True)
        .where(Review.alias_id == alias.id, col(Review.verdict).is_not(None))
        .order_by(col(Review.reviewed_at), col(Review.inference_id))
    )
    accepted = await _accepted(session, alias)
    return [
        _Judged(
            review=review,
            inference=inference,
            system_prompt=system_prompt,
            demonstration=accepted.get(review.feedback_id),
        )
        for review, inference, system_prompt in rows
    ]


async def _accepted(session: AsyncSession, alias: Alias) -> dict[str | None, tuple[str, str]]:
    """Return the demonstrations that reviewers accepted: feedback id -> text, rater."""
    rows = await session.exec(
        select(Feedback.id, Feedback.demonstration, Feedback.rater)
        .join(Review, col(Review.feedback_id) == Feedback.id)
        # What the rater wrote after the review, nobody has accepted.
        .where(Review.alias_id == alias.id, col(Feedback.given_at) <= col(Review.reviewed_at))
        .ext(distinct_on(col(Feedback.id)))
        .order_by(col(Feedback.id), col(Feedback.given_at).desc())
    )
    return {key: (text, rater) for key, text, rater in rows if text}


def _judgements(judged: _Judged) -> list[Judgement]:
    """Return what a review says of outputs: of the model's answer, and of the right one."""
    review, at = judged.review, judged.review.reviewed_at
    assert at is not None
    answer = answer_of(judged.inference)
    given = review.corrected or (judged.demonstration and judged.demonstration[0])
    found = []
    if answer is not None:
        is_right = review.verdict is Verdict.CORRECT
        found.append(Judgement(output=text_of(answer), is_right=is_right, at=at))
    if given:
        found.append(Judgement(output=given, is_right=True, at=at))
    return found


def _gathered(judged: _Judged, alias: Alias) -> Gathered | str:
    """Return the row that a review makes, or why it makes none."""
    inference, review = judged.inference, judged.review
    if not inference.is_trainable:
        return "no_train"
    if inference.tenant != alias.tenant:
        return "other_tenant"
    prompt = prompt_of(inference, judged.system_prompt)
    if not prompt:
        return "no_chat_of_text"
    answer, source, rater = _best_answer(judged)
    if answer is None:
        return "no_whole_answer" if review.verdict is Verdict.CORRECT else "wrong_uncorrected"
    assert review.reviewed_at is not None
    return Gathered(
        example=Example(prompt=prompt, answer=answer, tools=tuple(tools_of(inference))),
        source=source,
        source_id=inference.id,
        at=review.reviewed_at,
        rater=rater,
        reviewer=review.reviewer,
    )


def _best_answer(judged: _Judged) -> tuple[Message | None, Source, str | None]:
    """Return the answer that ought to be learned, where it is from, and whose demonstration it is."""
    review = judged.review
    if judged.demonstration is not None:
        text, rater = judged.demonstration
        return Message("assistant", review.corrected or text), Source.DEMONSTRATION, rater
    if review.corrected:
        return Message("assistant", review.corrected), Source.CORRECTION, None
    is_correct = review.verdict is Verdict.CORRECT
    return (answer_of(judged.inference) if is_correct else None), Source.REVIEWED, None


def _turn(turn: dict[str, Any]) -> Message:
    """Read a turn as the engine did; parts of text become one text, as its templates see them.

    Raises:
        msgspec.ValidationError: it holds something other than text.
        UnicodeEncodeError: its text cannot be written.
    """
    known = {name: turn[name] for name in Message.__struct_fields__ if turn.get(name) is not None}
    if isinstance(known.get("content"), list):
        parts = msgspec.convert(known["content"], list[_TextPart])
        known["content"] = "\n".join(part.text for part in parts)
    if not known.get("tool_calls"):
        known.pop("tool_calls", None)
    read = msgspec.convert(known, Message)
    msgspec.json.encode(read)
    return read


class _TextPart(msgspec.Struct, frozen=True, tag="text"):
    text: str
