"""A replica that was out, and the one request that shows whether it is well again."""

from pathlib import Path

from gateway.inference.place import Place
from tests.unit.gateway.inference.test_dispatch import BASE, A, B, World, answered, broken, left


async def on_trial(home: Path) -> tuple[World, Place]:
    """Return a world in which the only replica was out, and its trial."""
    world = World(home, eject_after=1, eject_seconds=2)
    world.prover.unprove(B)
    broken(await world.dispatcher.take(BASE))
    world.now += 3
    return world, await world.dispatcher.take(BASE)


async def test_a_trial_that_began_well_and_broke_off_was_none(tmp_path: Path) -> None:
    """Others are let in when it begins; when it fails, the pause is twice as long, not half forgiven."""
    world = World(tmp_path, eject_after=1, eject_seconds=2)
    world.prover.unprove(B)
    for pause in (2, 4, 8):
        trial = await world.dispatcher.take(BASE)
        trial.begin_answer()
        assert not world.dispatcher.is_ejected(A)
        trial.begin_answer()  # of each piece of the stream
        answered(await world.dispatcher.take(BASE))
        broken(trial)
        assert world.dispatcher.is_ejected(A)
        world.now += pause - 0.1
        assert world.dispatcher.is_ejected(A)
        assert not world.dispatcher._takes_requests(A, world.now)
        world.now += 0.2
        assert world.dispatcher._takes_requests(A, world.now)


async def test_a_client_that_leaves_a_trial_that_began_well_leaves_it_passed(
    tmp_path: Path,
) -> None:
    """What it saw of the answer is enough."""
    world, trial = await on_trial(tmp_path)
    trial.begin_answer()
    left(trial)
    assert not world.dispatcher.is_ejected(A)


async def test_a_long_trial_forgives_once(tmp_path: Path) -> None:
    """What others find meanwhile holds, however well the trial goes on."""
    world, trial = await on_trial(tmp_path)
    trial.begin_answer()
    broken(await world.dispatcher.take(BASE))
    trial.begin_answer()
    assert world.dispatcher.is_ejected(A)
