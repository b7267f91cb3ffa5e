"""Building a dataset: what is held back for the test, and what may train beside it."""

from retrain.build import build_dataset
from serving.store.evaluations import count_fresh_items, get_set
from serving.store.learning import Dataset, EvaluationSet, Split
from serving.store.tables import Alias, utc_now
from tests.learning import World, tickets


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
