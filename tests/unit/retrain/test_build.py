"""Building a dataset: what is held back for the test, and what may train beside it."""

import json
from pathlib import Path
from typing import Any

from retrain.build import build_dataset, dataset_folder
from retrain.collect import items_of
from serving.store.evaluations import count_fresh_items, get_set
from serving.store.learning import Dataset, EvaluationSet, Split
from serving.store.tables import Alias, utc_now
from tests.learning import World, tickets, user


async def build(world: World) -> tuple[Dataset, EvaluationSet]:
    """Build a dataset; return it with its evaluation set."""
    async with world.database.session() as session:
        alias = await session.get_one(Alias, world.alias.id)
        dataset = await build_dataset(session, world.settings, alias)
        assert dataset.evaluation_set_id is not None
        return dataset, await get_set(session, dataset.evaluation_set_id)


async def test_items_held_back_from_old_rows_are_old(world: World) -> None:
    """A set that a build makes after quality fell says nothing about the time after it."""
    await world.import_rows(tickets(0, 400, at="2026-09-01T00:00:00Z"), Split.TRAIN)
    await world.import_rows(tickets(400, 400), Split.TRAIN)
    fell_at = utc_now()
    _, held_back = await build(world)
    async with world.database.session() as session:
        assert held_back.id is not None
        assert await count_fresh_items(session, held_back.id, fell_at) == 0
    assert (held_back.num_items, f"{held_back.dated_at:%Y-%m}") == (500, "2026-09")


async def test_a_conversation_of_which_the_test_holds_a_turn_does_not_train(world: World) -> None:
    """Nobody named groups, and both turns of each conversation are rows of their own."""
    await world.import_rows([turn for at in range(450) for turn in conversation(at)], Split.TRAIN)
    dataset, held_back = await build(world)
    async with world.database.session() as session:
        items = await items_of(session, held_back)
    learnt = openings(dataset_folder(world.settings, dataset))
    assert learnt.isdisjoint(str(item.prompt[0].content) for item in items)
    kept = dataset.num_train + dataset.num_valid
    assert dataset.manifest["dropped"] == {"overlap": 900 - held_back.num_items - kept}


def conversation(number: int) -> list[dict[str, Any]]:
    """Return the two turns of a conversation, each as a row that knows the ones before it."""
    opening = user(" ".join(f"n{number}x{at}" for at in range(16)))
    first = {"role": "assistant", "content": "billing"}
    again = [user("and now?"), {"role": "assistant", "content": "returns"}]
    return [{"messages": [opening, first]}, {"messages": [opening, first, *again]}]


def openings(folder: Path) -> set[str]:
    """Return what the conversations of a dataset begin with, after the system prompt."""
    files = [(folder / f"{part}.jsonl").read_text() for part in ("train", "valid")]
    return {json.loads(line)["prompt"][1]["content"] for line in "".join(files).splitlines()}
