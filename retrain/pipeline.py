"""The life of a training run. `advance` takes one step; the worker calls it until the run has ended.

    queued      build the dataset (or take the one that was asked for), write the spec, submit
    training    follow the trainer; when it is done, import its adapter: a candidate release
    evaluating  base, champion and candidate on the newest evaluation set; the gate; then, if
                nobody asked by hand, promote what passed

Every step can be repeated after a crash: what it made last time is found, not made again.
"""

import logging
from dataclasses import asdict
from pathlib import Path

import msgspec

from retrain.build import build_dataset, dataset_folder
from retrain.evaluate import evaluate_release
from retrain.executor import TrainingState, TrainingStatus
from retrain.gate import Verdict, judge
from retrain.recipe import count_parameters, default_recipe
from retrain.shop import Shop
from retrain.spec import Limits, TrainingSpec, write_spec
from serving.errors import ConfigurationError, StropError, UnavailableError
from serving.fleet import swap
from serving.fleet.adapters import import_adapter
from serving.store.evaluations import get_set, newest_set
from serving.store.learning import Dataset, Run, RunState, Trigger
from serving.store.releases import get_release, list_releases
from serving.store.runs import end_run, get_run
from serving.store.tables import Alias, Release, utc_now

log = logging.getLogger("strop.retrain")

_ENDS = {
    TrainingState.FAILED: RunState.FAILED,
    TrainingState.OUT_OF_MEMORY: RunState.FAILED,
    TrainingState.CANCELLED: RunState.CANCELLED,
}


async def advance(shop: Shop, run_id: int) -> None:
    """Take the run's next step. What a person can mend ends the run with its words.

    Raises:
        UnavailableError: an engine is away; the step is taken again at the next call.
    """
    run = await _load(shop, run_id)
    try:
        if run.is_cancelled:
            await _cancel(shop, run)
        elif run.state is RunState.QUEUED:
            await _begin_training(shop, run)
        elif run.state is RunState.TRAINING:
            await _follow_training(shop, run)
        elif run.state is RunState.EVALUATING:
            await _decide(shop, run)
    except UnavailableError:
        raise
    except StropError as error:
        await _end(shop, run, RunState.FAILED, error.message)


async def _begin_training(shop: Shop, run: Run) -> None:
    async with shop.database.session() as session:
        alias = await session.get_one(Alias, run.alias_id)
        if run.dataset_id is None:
            dataset = await build_dataset(session, shop.settings, alias)
        else:
            dataset = await session.get_one(Dataset, run.dataset_id)
        assert alias.champion_id is not None
        champion = await get_release(session, alias.champion_id)
        spec_path = _write_spec(shop, run, dataset, champion.pool)
        stored = await get_run(session, _id(run))
        stored.dataset_id = dataset.id
        stored.state = RunState.TRAINING
        stored.started_at = utc_now()
        # Under the row's lock, so that a run that was cancelled meanwhile is not started.
        stored.handle = await shop.executor.submit(spec_path)


async def _follow_training(shop: Shop, run: Run) -> None:
    assert run.handle is not None
    status = await shop.executor.poll(run.handle)
    await _note_progress(shop, run, status)
    if status.state is TrainingState.LOST:
        await shop.executor.submit(Path(run.handle))  # goes on from its last checkpoint
    elif status.state is TrainingState.DONE:
        await _import_result(shop, run)
    elif status.state in _ENDS:
        await _end(shop, run, _ENDS[status.state], status.message)


async def _import_result(shop: Shop, run: Run) -> None:
    """Make the trainer's folder a candidate release, in one transaction with the run's next state."""
    async with shop.database.session() as session:
        alias = await session.get_one(Alias, run.alias_id)
        folder = run_folder(shop, run) / "adapter"
        _, release = await import_adapter(
            session, shop.settings, alias, folder, source=f"run {run.id}"
        )
        stored = await get_run(session, _id(run))
        stored.release_id = release.id
        stored.state = RunState.EVALUATING


async def _decide(shop: Shop, run: Run) -> None:
    verdict, champion = await _evaluate(shop, run)
    async with shop.database.session() as session:
        stored = await get_run(session, _id(run))
        stored.verdict = asdict(verdict)
        stored.champion_id = champion.id
        end_run(stored, RunState.PASSED if verdict.is_passed else RunState.REJECTED)
    if verdict.is_passed and run.trigger is not Trigger.MANUAL:
        await _promote(shop, run, verdict)


async def _evaluate(shop: Shop, run: Run) -> tuple[Verdict, Release]:
    """Score base, champion and candidate on one revision; hold the last two against each other.

    Returns:
        The verdict, and the champion that it holds the candidate against.
    """
    async with shop.database.session() as session:
        alias = await session.get_one(Alias, run.alias_id)
        evaluation_set = await newest_set(session, run.alias_id)
        if evaluation_set is None:
            dataset = await session.get_one(Dataset, run.dataset_id)
            assert dataset.evaluation_set_id is not None
            evaluation_set = await get_set(session, dataset.evaluation_set_id)
        base = (await list_releases(session, alias))[-1]
        assert alias.champion_id is not None
        assert run.release_id is not None
        champion = await get_release(session, alias.champion_id)
        candidate = await get_release(session, run.release_id)
    await evaluate_release(shop, alias, evaluation_set, base, run_id=run.id)
    old = await evaluate_release(shop, alias, evaluation_set, champion, run_id=run.id)
    new = await evaluate_release(shop, alias, evaluation_set, candidate, run_id=run.id)
    return judge(old.scores, new.scores), champion


async def _promote(shop: Shop, run: Run, verdict: Verdict) -> None:
    """Swap the winner in. A swap that fails leaves the champion, and a candidate that passed."""
    async with shop.database.session() as session:
        assert run.release_id is not None
        release = await get_release(session, run.release_id)
    try:
        await swap.promote(
            shop.database,
            shop.settings,
            shop.engines,
            run.alias_id,
            release.number,
            actor=f"run {run.id}",
            reason=verdict.reason,
            is_forced=False,
        )
    except StropError as error:
        log.warning("run %s passed, and its release was not promoted: %s", run.id, error.message)
        async with shop.database.session() as session:
            (await get_run(session, _id(run))).error = error.message


async def _cancel(shop: Shop, run: Run) -> None:
    if run.handle is not None:
        await shop.executor.cancel(run.handle)
    await _end(shop, run, RunState.CANCELLED, "cancelled on request")


def run_folder(shop: Shop, run: Run) -> Path:
    """Return where a run works."""
    return shop.settings.run_dir / str(run.id)


def _write_spec(shop: Shop, run: Run, dataset: Dataset, pool: str) -> Path:
    base_model = shop.settings.pool(pool).base_model
    files, folder = dataset_folder(shop.settings, dataset), run_folder(shop, run)
    train = shop.settings.train
    spec = TrainingSpec(
        base_model=str(Path(base_model).absolute()) if Path(base_model).is_dir() else base_model,
        base_name=Path(base_model).name,
        recipe=default_recipe(_num_parameters(base_model), seed=_id(run)),
        limits=Limits(
            memory_bytes=int(train.memory_gib * 2**30),
            gpu_memory_bytes=int(train.gpu_memory_gib * 2**30) if train.gpu_memory_gib else None,
            threads=train.threads,
            nice=train.nice,
        ),
        train_file=str(files / "train.jsonl"),
        valid_file=str(files / "valid.jsonl"),
        adapter_dir=str(folder / "adapter"),
        checkpoint_dir=str(folder / "checkpoints"),
        progress_file=str(folder / "progress.jsonl"),
    )
    folder.mkdir(parents=True, exist_ok=True)
    write_spec(folder / "spec.json", spec)
    return folder / "spec.json"


def _num_parameters(base_model: str) -> int:
    folder = Path(base_model)
    if not folder.is_dir():
        raise ConfigurationError(
            f"The base model {base_model!r} is no folder on this machine, so it cannot be trained "
            "on here. Name a folder in engine.base_model, or set train.command to a remote trainer."
        )
    return count_parameters(folder)


async def _load(shop: Shop, run_id: int) -> Run:
    async with shop.database.session() as session:
        return await get_run(session, run_id)


async def _note_progress(shop: Shop, run: Run, status: TrainingStatus) -> None:
    if status.progress is None:
        return
    async with shop.database.session() as session:
        stored = await get_run(session, _id(run))
        stored.progress = msgspec.to_builtins(status.progress)


async def _end(shop: Shop, run: Run, state: RunState, error: str) -> None:
    async with shop.database.session() as session:
        end_run(await get_run(session, _id(run)), state, error)


def _id(run: Run) -> int:
    assert run.id is not None
    return run.id
