"""The life of a training run. `advance` takes one step; the worker calls it until the run has ended.

    queued      build the dataset, unless one was asked for; then submit it to a trainer
    training    follow the trainer; when it is done, its adapter becomes a candidate release
    evaluating  base, champion and candidate answer the evaluation set; then the gate judges
    passed      if nobody asked for the run by hand, the candidate is promoted; then it has ended

Each line is a step, and a step ends with one transaction. A worker that is killed in the middle
leaves the run where it was, and what the step had made outside the database is found again: files
by their content, a training by its spec, an adapter by its name, answers by their release.
"""

import logging

import msgspec
from sqlalchemy.exc import OperationalError
from sqlmodel.ext.asyncio.session import AsyncSession

from retrain.build import build_dataset
from retrain.executor import TrainingState, TrainingStatus
from retrain.jobs import log_failure
from retrain.judge import judge_run
from retrain.prepare import base_to_train, prepare_training, run_folder, spec_path
from retrain.shop import Shop
from serving.errors import ConflictError, EngineError, NotFoundError, StropError, UnavailableError
from serving.fleet import swap
from serving.fleet.adapters import import_adapter
from serving.store.aliases import id_of
from serving.store.learning import Dataset, Run, RunState, Trigger
from serving.store.releases import get_release
from serving.store.runs import end_run, get_run, lock_run, note_error
from serving.store.tables import Alias, Release, utc_now

log = logging.getLogger("strop.retrain")

MAX_TRIES = 20
"""Failures of a step in a row, about eight minutes of them, after which a run is given up."""
MAX_RESTARTS = 5
"""Lost trainings go on from their checkpoint; one that is lost ever again, and comes no further
than it had, will not get through."""

_LOST = (TrainingState.LOST, TrainingState.CANCELLED)
"""Nobody of ours stops a trainer whose run is not cancelled: a reboot did, or `systemctl stop`."""
_FAILED = (TrainingState.FAILED, TrainingState.OUT_OF_MEMORY)


async def advance(shop: Shop, run_id: int) -> None:
    """Take the run's next step. The caller sees to it that nobody else does at the same time.

    An engine that is away, or a registry that cannot be written, is waited for: the step is taken
    again at the next call, and `run.error` says what is missing. What only a person can mend ends
    the run with its words. So does, if it stays, a failure that nobody foresaw, such as a full disk,
    or an engine that refuses the winner. The champion serves on in any case.
    """
    async with shop.database.session() as session:
        run = await get_run(session, run_id)
    if not (run.is_cancelled or shop.patience[run_id].is_due):
        return
    try:
        await _step(shop, run)
    except EngineError as error:
        # It answers, and refuses. A promotion that is tried again disturbs every gateway worker.
        is_endless = run.state is not RunState.PASSED
        await _try_again(shop, run, error.message, is_endless=is_endless)
    except UnavailableError as error:
        await wait(shop, run, error.message)
    except StropError as error:
        await _give_up(shop, run, error.message)
    except OperationalError:
        raise  # the database is away: that is no run's failure
    except Exception as error:  # noqa: BLE001 - one run's failure is its own, and told there
        await _try_again(shop, run, log_failure(f"run {run.id} failed while {run.state}", error))
    else:
        shop.patience.pop(run_id, None)


async def wait(shop: Shop, run: Run, error: str) -> None:
    """Write on a run what it waits for."""
    if error == run.error:
        return
    log.warning("run %s waits: %s", run.id, error)
    async with shop.database.session() as session:
        note_error(await _mine(session, run), error)


async def _step(shop: Shop, run: Run) -> None:
    match run.state:
        case RunState.PASSED if await _is_promoted(shop, run):
            await _end(shop, run, RunState.PASSED)  # by a worker that died right after the flip
        case _ if run.is_cancelled:
            await _cancel(shop, run)
        case RunState.QUEUED if run.dataset_id is None:
            await _build(shop, run)
        case RunState.QUEUED:
            await _submit(shop, run)
        case RunState.TRAINING:
            await _follow(shop, run)
        case RunState.EVALUATING:
            await _evaluate(shop, run)
        case RunState.PASSED:
            await _promote(shop, run)


async def _build(shop: Shop, run: Run) -> None:
    async with shop.database.session() as session:
        alias = await session.get_one(Alias, run.alias_id)
        # First what fails at once: a build takes seconds, and freezes files.
        base_to_train(shop.settings, (await get_release(session, _champion_of(alias))).pool)
        dataset = await build_dataset(session, shop.settings, alias)
        stored = await _mine(session, run)
        stored.dataset_id = dataset.id
        stored.error = None


async def _submit(shop: Shop, run: Run) -> None:
    async with shop.database.session() as session:
        alias = await session.get_one(Alias, run.alias_id)
        dataset = await session.get_one(Dataset, run.dataset_id)
        champion = await get_release(session, _champion_of(alias))
    await prepare_training(shop.settings, run, dataset, champion.pool)
    async with shop.database.session() as session:
        # Under the row's lock: a run that is cancelled in this moment is not started after it.
        stored = await _mine(session, run)
        if stored.is_cancelled:
            return
        stored.handle = await shop.executor.submit(spec_path(shop.settings, run))
        stored.state = RunState.TRAINING
        stored.started_at = utc_now()
        stored.error = None


async def _follow(shop: Shop, run: Run) -> None:
    assert run.handle is not None
    status = await shop.executor.poll(run.handle)
    await _note_progress(shop, run, status)
    if status.state in _LOST:
        await _restart(shop, run, status)
    elif status.state is TrainingState.DONE:
        await _register(shop, run)
    elif status.state in _FAILED:
        await _end(shop, run, RunState.FAILED, status.message)


async def _restart(shop: Shop, run: Run, status: TrainingStatus) -> None:
    """Let a trainer that was stopped go on from its last checkpoint."""
    step = status.progress.step if status.progress else 0
    async with shop.database.session() as session:
        stored = await _mine(session, run)
        if stored.is_cancelled:
            return
        if step > stored.furthest_step:
            stored.furthest_step, stored.num_restarts = step, 0
        if stored.num_restarts == MAX_RESTARTS:
            words = f"lost {MAX_RESTARTS + 1} times, and never got beyond step {run.furthest_step}"
            end_run(stored, RunState.FAILED, f"The trainer was {words}. {status.message}")
            return
        stored.num_restarts += 1
        await session.commit()  # counted first: a restart that kills this process counts too
    log.warning("run %s lost its trainer, which goes on: %s", run.id, status.message)
    await shop.executor.submit(spec_path(shop.settings, run))


async def _register(shop: Shop, run: Run) -> None:
    """Make the trainer's folder a candidate release: wholly, with the run's next state, or not."""
    async with shop.database.session() as session:
        alias = await session.get_one(Alias, run.alias_id)
        folder = run_folder(shop.settings, run) / "adapter"
        _, release = await import_adapter(
            session, shop.settings, alias, folder, source=f"run {run.id}"
        )
        stored = await _mine(session, run)
        stored.release_id = release.id
        stored.state = RunState.EVALUATING
        stored.error = None


async def _evaluate(shop: Shop, run: Run) -> None:
    """Have the next release answer; once all have, pass or reject the candidate."""
    judged = await judge_run(shop, run)
    if judged is None:
        return
    async with shop.database.session() as session:
        stored = await _mine(session, run)
        alias = await session.get_one(Alias, run.alias_id)
        if stored.is_cancelled or alias.champion_id != judged.champion_id:
            return  # the next step cancels, or holds the candidate against the new champion
        stored.verdict = judged.verdict
        stored.champion_id = judged.champion_id
        stored.error = None
        if judged.is_passed and run.trigger is not Trigger.MANUAL:
            stored.state = RunState.PASSED
        else:
            end_run(stored, RunState.PASSED if judged.is_passed else RunState.REJECTED)


async def _is_promoted(shop: Shop, run: Run) -> bool:
    async with shop.database.session() as session:
        return (await session.get_one(Alias, run.alias_id)).champion_id == run.release_id


async def _promote(shop: Shop, run: Run) -> None:
    """Swap the winner in."""
    async with shop.database.session() as session:
        release = await session.get_one(Release, run.release_id)
    assert run.verdict is not None
    try:
        await swap.promote(
            shop.database,
            shop.settings,
            shop.engines,
            run.alias_id,
            release.number,
            actor=f"run {run.id}",
            reason=run.verdict["reason"],
            is_forced=False,
        )
    except ConflictError as error:
        if error.code != swap.WALK_UNDER_WAY:
            raise
        raise UnavailableError(error.message) from error
    await _end(shop, run, RunState.PASSED)


async def _cancel(shop: Shop, run: Run) -> None:
    await _stop_trainer(shop, run)
    await _end(shop, run, RunState.CANCELLED, "It was cancelled on request.")


async def _stop_trainer(shop: Shop, run: Run) -> None:
    # Perhaps it was submitted by a worker that died before it wrote down the handle.
    handle = run.handle or await shop.executor.find(spec_path(shop.settings, run))
    if handle is not None:
        try:
            await shop.executor.cancel(handle)
        except NotFoundError:
            log.warning("run %s ends; its training %s is gone already", run.id, handle)


async def _note_progress(shop: Shop, run: Run, status: TrainingStatus) -> None:
    progress = msgspec.to_builtins(status.progress) if status.progress else {}
    if progress and progress != run.progress:
        async with shop.database.session() as session:
            (await _mine(session, run)).progress = progress


async def _try_again(shop: Shop, run: Run, error: str, *, is_endless: bool = False) -> None:
    """Let a run rest for a while, longer each time; give it up where that has not helped."""
    patience = shop.patience[id_of(run)]
    patience.fail()
    if is_endless or patience.num_failures < MAX_TRIES:
        await wait(shop, run, error)
    else:
        await _give_up(shop, run, f"It failed {MAX_TRIES} times in a row. {error}")


async def _give_up(shop: Shop, run: Run, error: str) -> None:
    """End a run for what stands in its way. One that passed leaves a candidate that passed."""
    log.warning("run %s is given up while %s: %s", run.id, run.state, error)
    try:
        await _stop_trainer(shop, run)
    except Exception as failure:  # noqa: BLE001 - what stands in its way may be this
        log_failure(f"stopping the trainer of run {run.id} failed", failure)
    has_passed = run.state is RunState.PASSED
    await _end(shop, run, RunState.PASSED if has_passed else RunState.FAILED, error)
    shop.patience.pop(id_of(run), None)


async def _end(shop: Shop, run: Run, state: RunState, error: str | None = None) -> None:
    async with shop.database.session() as session:
        end_run(await _mine(session, run), state, error)


async def _mine(session: AsyncSession, run: Run) -> Run:
    """Return the run as it is now, locked. We hold its advisory lock: only a cancel can come in."""
    stored = await lock_run(session, id_of(run))
    assert stored.state is run.state
    assert stored.ended_at is None
    return stored


def _champion_of(alias: Alias) -> int:
    assert alias.champion_id is not None
    return alias.champion_id
