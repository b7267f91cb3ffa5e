"""What is read as training rows: imports and reviews, whole answers in text, nobody else's."""

from datetime import timedelta
from typing import Any

import pytest

from retrain.collect import gather, gather_evaluation, items_of
from retrain.examples import Message
from retrain.sources import select_rows
from serving.store.evaluations import get_set
from serving.store.learning import Review, Source, Split, Verdict
from serving.store.releases import create_release
from serving.store.tables import Alias, Feedback, Inference, utc_now
from tests.learning import World, answer, chat, tickets, user


async def review(world: World, inference: Inference, **fields: Any) -> None:
    """Let a reviewer judge an inference: correct, unless told otherwise."""
    values = {"verdict": Verdict.CORRECT, "reviewer": "rita", "reviewed_at": utc_now()}
    async with world.database.session() as session:
        session.add(
            Review(
                inference_id=inference.id,
                alias_id=world.alias.id,
                tenant="acme",
                begun_at=inference.begun_at,
                share=0.1,
                **(values | fields),
            )
        )


async def found(world: World) -> Any:
    """Return what is gathered."""
    async with world.database.session() as session:
        return await gather(session, await session.get_one(Alias, world.alias.id))


async def test_a_reviewed_chat_becomes_a_row_without_our_system_prompt(world: World) -> None:
    """Prompt, tools and answer as they were; the release's own system prompt is added again later."""
    tools = [{"type": "function", "function": {"name": "look_up"}}]
    system = {"role": "system", "content": "Be brief."}
    inference = await world.infer(request=chat(system, "ticket 1", tools=tools))
    await review(world, inference)
    (row,) = (await found(world)).rows
    assert row.example.prompt == (Message("user", "ticket 1"),)
    assert (row.example.tools, row.example.answer_text) == (tuple(tools), "billing")
    assert (row.source, row.source_id, row.reviewer) == (Source.REVIEWED, inference.id, "rita")


async def test_a_system_prompt_of_the_client_stays(world: World) -> None:
    """It is part of what was asked."""
    own = {"role": "system", "content": "Be a pirate."}
    await review(world, await world.infer(request=chat(own, "ticket 1")))
    (row,) = (await found(world)).rows
    assert row.example.prompt[0] == Message("system", "Be a pirate.")


async def test_parts_of_text_are_one_text_and_calls_of_tools_are_answers(world: World) -> None:
    """As the engine's templates see them; an answer of tool calls is compared without their ids."""
    parts = [{"type": "text", "text": "ticket"}, {"type": "text", "text": "1"}]
    call = {"id": "x", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}
    said = answer(None, tool_calls=[call])
    await review(world, await world.infer(request=chat(user(parts)), response=said))
    (row,) = (await found(world)).rows
    assert row.example.prompt == (Message("user", "ticket\n1"),)
    assert row.example.answer_text == '[{"arguments":{"a":1},"name":"f"}]'


IMAGE = user([{"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}}])


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"is_trainable": False}, "no_train"),
        ({"tenant": "other"}, "other_tenant"),
        ({"endpoint": "/v1/completions", "request": {"prompt": "ticket 1"}}, "no_chat_of_text"),
        ({"request": chat(IMAGE)}, "no_chat_of_text"),
        ({"request": chat("\ud800")}, "no_chat_of_text"),
        ({"request": "no JSON"}, "no_chat_of_text"),
        ({"response": answer("bill", "length")}, "no_whole_answer"),
        ({"is_truncated": True}, "no_whole_answer"),
        ({"response": {"choices": []}}, "no_whole_answer"),
        ({"response": "<html>"}, "no_whole_answer"),
        ({"response": None}, "no_whole_answer"),
    ],
)
async def test_what_cannot_or_may_not_train_is_left_out_and_counted(
    world: World, fields: dict[str, Any], reason: str
) -> None:
    """By reason; and nothing of it stops the rest."""
    await review(world, await world.infer(**fields))
    await review(world, await world.infer())
    gathering = await found(world)
    assert len(gathering.rows) == 1
    assert gathering.left_out == {reason: 1}


async def test_a_wrong_answer_trains_once_it_is_corrected(world: World) -> None:
    """Without a correction it is counted; with one, also a cut answer makes a row."""
    await review(world, await world.infer(), verdict=Verdict.INCORRECT)
    cut = await world.infer(is_truncated=True)
    await review(world, cut, verdict=Verdict.INCORRECT, corrected="returns")
    gathering = await found(world)
    (row,) = gathering.rows
    assert (row.source, row.example.answer_text) == (Source.CORRECTION, "returns")
    assert gathering.left_out == {"wrong_uncorrected": 1}
    assert [one.is_right for one in gathering.judgements] == [False, True]


async def test_a_demonstration_trains_as_it_was_when_it_was_accepted(world: World) -> None:
    """What the rater writes afterwards, nobody has seen; rater and reviewer are both kept."""
    inference = await world.infer()
    accepted_at = utc_now()
    async with world.database.session() as session:
        for text, minutes in (("delivery", -1), ("nonsense", +1)):
            session.add(
                Feedback(
                    id="f",
                    given_at=accepted_at + timedelta(minutes=minutes),
                    inference_id=inference.id,
                    tenant="acme",
                    rater="ada",
                    demonstration=text,
                )
            )
    judged = {"verdict": Verdict.INCORRECT, "feedback_id": "f", "reviewed_at": accepted_at}
    await review(world, inference, **judged)
    (row,) = (await found(world)).rows
    assert (row.example.answer_text, row.source) == ("delivery", Source.DEMONSTRATION)
    assert (row.rater, row.reviewer) == ("ada", "rita")


async def test_replaced_imports_and_evaluation_items_are_not_gathered(world: World) -> None:
    """Only what was imported last with --replace, and later, trains."""
    await world.import_rows(tickets(0, 3), Split.TRAIN)
    await world.import_rows(tickets(10, 2), Split.TRAIN, replaces=True)
    await world.import_rows(tickets(20, 1), Split.TRAIN)
    await world.import_rows(tickets(30, 5), Split.EVAL)
    rows = (await found(world)).rows
    assert [row.example.prompt_text.split()[-1] for row in rows] == ["10", "11", "20"]


def with_system_prompt(system: str, first: int, count: int) -> list[dict[str, Any]]:
    """Return rows that open alike, whose users begin with one word of 500 and then all differ."""
    return [
        {
            "messages": [
                {"role": "system", "content": system},
                user(f"word{number % 500} of " + " ".join(f"n{number}x{at}" for at in range(9))),
                {"role": "assistant", "content": "billing"},
            ]
        }
        for number in range(first, first + count)
    ]


async def test_files_that_carry_the_alias_own_system_prompt_do_not_overlap(world: World) -> None:
    """What every row shares is no sign of a copy: of 1,500 rows beside 500 items, none is dropped."""
    system = " ".join(f"rule{at}" for at in range(60))
    async with world.database.session() as session:
        alias = await session.get_one(Alias, world.alias.id)
        await create_release(session, alias, pool="default", system_prompt=system)
    await world.import_rows(with_system_prompt(system, 0, 500), Split.EVAL)
    await world.import_rows(with_system_prompt(system, 500, 1500), Split.TRAIN)
    async with world.database.session() as session:
        alias = await session.get_one(Alias, world.alias.id)
        gathering = await gather(session, alias)
        evaluation = await gather_evaluation(session, alias)
        (first, *_) = await items_of(session, await get_set(session, 1))
    assert +select_rows(gathering.rows, gathering.judgements, evaluation).dropped == {}
    # The release that is asked puts its own before it.
    assert [turn.role for turn in first.prompt] == ["user"]
