"""Curated files: whole or not at all, and at once what is still missing."""

import pytest

from retrain.collect import items_of
from retrain.importing import import_file, missing_for_training
from serving.errors import InvalidRequestError
from serving.store.evaluations import newest_set
from serving.store.learning import RunState, Split, Trigger
from tests.learning import World, tickets


async def test_an_import_says_what_is_still_missing(world: World) -> None:
    """For training, and for a gate; nothing once it is all there."""
    few = await world.import_rows(tickets(0, 12), Split.TRAIN)
    assert few.missing == (
        "100 more training rows",
        "an evaluation set of 500 rows for the gate (or 600 more training rows, of which 500 "
        "are held back)",
    )
    judged = await world.import_rows(tickets(10_000, 500), Split.EVAL)
    assert judged.missing == ("100 more training rows",)
    assert (await world.import_rows(tickets(100, 100), Split.TRAIN)).missing == ()


def test_enough_training_rows_need_no_evaluation_set() -> None:
    """A build holds the test part back itself."""
    assert missing_for_training(612, 100, has_gate_set=False) == ()
    assert missing_for_training(200, 100, has_gate_set=False) != ()


async def test_a_bad_line_refuses_the_file_whole(world: World) -> None:
    """Named by its number; nothing of the file is kept."""
    with pytest.raises(InvalidRequestError, match="line 3: "):
        await world.import_rows([*tickets(0, 2), {"instruction": "x"}], Split.TRAIN)
    assert (await world.import_rows(tickets(5, 1), Split.TRAIN)).num_training_rows == 1


async def test_evaluation_sets_are_dated_revisions(world: World) -> None:
    """Each keeps its items in order; the oldest item dates it; a repeated row counts once."""
    rows = tickets(0, 2, at="2026-10-01T00:00:00Z") + tickets(7, 1, at="2026-09-01T00:00:00Z")
    first = await world.import_rows([*rows, rows[0]], Split.EVAL)
    second = await world.import_rows(tickets(20, 1), Split.EVAL)
    assert first.evaluation_set is not None
    assert second.evaluation_set is not None
    assert (first.num_rows, first.num_repeated) == (3, 1)
    assert (first.evaluation_set.number, second.evaluation_set.number) == (1, 2)
    assert f"{first.evaluation_set.dated_at:%Y-%m}" == "2026-09"
    async with world.database.session() as session:
        items = await items_of(session, first.evaluation_set)
        newest = await newest_set(session, world.alias.id or 0)
        assert newest is not None
        assert newest.number == 2
        assert await newest_set(session, world.alias.id or 0, 500) is None
    assert [item.prompt_text.split()[-1] for item in items] == ["0", "1", "7"]


async def test_items_that_a_serving_release_has_learnt_are_left_out(world: World) -> None:
    """They would be held against the candidate, which never trains on items; answers made new stay."""
    await world.import_all()
    await world.advance_to(await world.queue(Trigger.QUALITY), RunState.PASSED)
    assert await world.champion() == 2
    known, renamed = tickets(0, 5), tickets(5, 2, output="refunds")
    found = await world.import_rows([*known, *renamed, *tickets(700, 3)], Split.EVAL)
    assert (found.num_rows, found.num_learnt, found.num_repeated) == (5, 5, 0)
    with pytest.raises(InvalidRequestError, match="trained on each of its rows"):
        await world.import_rows(known, Split.EVAL)


async def test_an_evaluation_set_is_not_replaced(world: World) -> None:
    """Who asks for it is told, not obeyed in silence."""
    with pytest.raises(InvalidRequestError, match="not replaced"):
        await world.import_rows(tickets(0, 3), Split.EVAL, replaces=True)


async def test_a_files_name_may_be_anything(world: World) -> None:
    """A byte order mark is no fault, and a name is kept as far as text can."""
    path = world.settings.home / "r\udcffws.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"instruction": "a", "output": "b"}\n')
    async with world.database.session() as session:
        found = await import_file(
            session, world.settings, world.alias, path, Split.TRAIN, actor="console"
        )
    assert found.num_rows == 1
