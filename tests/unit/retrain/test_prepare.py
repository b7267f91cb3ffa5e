"""What a training needs before it is worth beginning: a base model, and engines that take adapters."""

from dataclasses import replace

import pytest

from retrain.learn import advance_runs
from retrain.prepare import base_to_train, limits_for
from serving.errors import StropError
from serving.sections import PoolSettings, TrainSettings
from serving.settings import Settings
from serving.store.learning import RunState
from serving.types import PoolKind
from tests.learning import World


@pytest.mark.parametrize(
    ("pool", "words"),
    [
        (PoolSettings(name="a", urls=("http://engine",)), "engine.base_model"),
        (PoolSettings(name="a", kind=PoolKind.OPENAI, base_model="gpt"), "takes no adapters"),
        (PoolSettings(name="b", base_model="x"), "no pool 'a'"),
    ],
)
def test_a_pool_that_cannot_be_trained_for_is_refused(pool: PoolSettings, words: str) -> None:
    """With what to set; a base under its hub name is good."""
    with pytest.raises(StropError, match=words):
        base_to_train(Settings(pools=(pool,)), "a")
    good = PoolSettings(name="a", base_model="some/hub-name")
    assert base_to_train(Settings(pools=(good,)), "a") == "some/hub-name"


async def test_a_run_without_a_base_model_ends_before_anything_is_built(world: World) -> None:
    """The worker's own runs too say what is missing, in place of a trainer's traceback."""
    await world.import_all()
    run = await world.queue()
    pools = (PoolSettings(name="default", urls=("http://engine",)),)
    settings = world.settings.model_copy(update={"pools": pools})
    await advance_runs(replace(world.shop, settings=settings))
    ended = await world.run(run.id)
    assert (ended.state, ended.dataset_id) == (RunState.FAILED, None)
    assert "engine.base_model" in (ended.error or "")


def test_a_training_may_take_what_its_base_needs() -> None:
    """The weights of 8 billion parameters fit beside 6 GiB; what strop.toml says holds instead."""
    unset = limits_for(TrainSettings(), 8 * 10**9).memory_bytes
    assert unset == 16 * 10**9 + 6 * 2**30
    assert limits_for(TrainSettings(memory_gib=3), 8 * 10**9).memory_bytes == 3 * 2**30
