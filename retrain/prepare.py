"""What a run's trainer is given: a folder to work in, and its spec."""

import asyncio
import os
from pathlib import Path

from retrain.build import dataset_folder
from retrain.freeze import verify_files
from retrain.recipe import SMALL_BASE, count_parameters, default_recipe
from retrain.spec import Limits, TrainingSpec, write_spec
from serving.errors import ConfigurationError, InvalidRequestError
from serving.sections import TrainSettings
from serving.settings import Settings
from serving.store.learning import Dataset, Run
from serving.types import PoolKind

_BYTES_BESIDE = 6 * 2**30
"""What a training takes beside the base's weights: libraries, activations, the adapter, its state."""
_BYTES_PER_WEIGHT = 2  # of a base whose weights count at all: see `load_base` of the trainer


def run_folder(settings: Settings, run: Run) -> Path:
    """Return where a run works."""
    return settings.run_dir / str(run.id)


def spec_path(settings: Settings, run: Run) -> Path:
    """Return where a run's spec is."""
    return run_folder(settings, run) / "spec.json"


def base_to_train(settings: Settings, pool: str) -> str:
    """Return the base model on which adapters for a pool are trained.

    Raises:
        InvalidRequestError: the pool's engines take no adapters.
        ConfigurationError: the pool is not configured, or names no base model.
    """
    found = settings.pool(pool)
    if found.kind is not PoolKind.VLLM:
        raise InvalidRequestError(
            f"The alias serves from pool {pool!r} of kind `{found.kind}`, which takes no adapters, "
            "so there is nothing to train. Promote a release on a pool of kind `vllm` first."
        )
    if not found.base_model:
        raise ConfigurationError(
            f"Pool {pool!r} names no base model, so there is nothing to train on. "
            "Set engine.base_model, or the pool's base_model, to what its engines serve."
        )
    return found.base_model


async def prepare_training(settings: Settings, run: Run, dataset: Dataset, pool: str) -> None:
    """Write the run's spec, unless it is there: a trainer may be at work on it.

    Args:
        pool: whose base model is trained on.

    Raises:
        InvalidRequestError, ConfigurationError: see `base_to_train`; or the folder cannot be
            written.
        ConflictError: the dataset's files are not what was frozen.
    """
    if not spec_path(settings, run).exists():
        await asyncio.to_thread(_prepare, settings, run, dataset, pool)


def _prepare(settings: Settings, run: Run, dataset: Dataset, pool: str) -> None:
    verify_files(settings.dataset_dir, dataset)
    spec = _spec_of(settings, run, dataset, base_to_train(settings, pool))
    path = spec_path(settings, run)
    draft = path.with_name(".spec.json")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_spec(draft, spec)
        draft.rename(path)
    except OSError as error:
        raise ConfigurationError(
            f"{path} cannot be written: {error}. See to permissions and space, then train again."
        ) from error


def _spec_of(settings: Settings, run: Run, dataset: Dataset, base_model: str) -> TrainingSpec:
    files, folder = dataset_folder(settings, dataset), run_folder(settings, run)
    base, size = Path(base_model), _size_of(base_model)
    return TrainingSpec(
        base_model=str(base.absolute()) if base.is_dir() else base_model,
        base_name=base.name,
        recipe=default_recipe(size, seed=run.id or 0),
        limits=limits_for(settings.train, size),
        train_file=str(files / "train.jsonl"),
        valid_file=str(files / "valid.jsonl"),
        adapter_dir=str(folder / "adapter"),
        checkpoint_dir=str(folder / "checkpoints"),
        progress_file=str(folder / "progress.jsonl"),
    )


def limits_for(train: TrainSettings, num_parameters: int) -> Limits:
    """Return what a training of a base of this size may take."""
    needed = _BYTES_BESIDE + _BYTES_PER_WEIGHT * num_parameters
    return Limits(
        memory_bytes=int(train.memory_gib * 2**30) if train.memory_gib else needed,
        gpu_memory_bytes=int(train.gpu_memory_gib * 2**30) if train.gpu_memory_gib else None,
        threads=train.threads or max(1, len(os.sched_getaffinity(0)) - 1),
        nice=train.nice,
    )


def _size_of(base_model: str) -> int:
    """Return a base's parameters; one that is known by its hub name only counts as just large."""
    folder = Path(base_model)
    return count_parameters(folder) if folder.is_dir() else SMALL_BASE
