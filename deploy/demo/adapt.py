"""The adapter of the demo alias: Halden's rows from before the change, through Strop's own trainer."""

import asyncio
import json
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from deploy.demo.company import AFTER, BEFORE, Row, routing_rows
from deploy.demo.corpus import Chat
from deploy.demo.measure import exact_match, load
from deploy.demo.training import Follow, Watch
from retrain.examples import parse_examples
from retrain.executor import LocalExecutor, TrainingState, TrainingStatus
from retrain.recipe import Recipe, count_parameters, default_recipe
from retrain.spec import Limits, Progress, TrainingSpec, write_rows, write_spec
from serving.errors import StropError

BASE_NAME = "strop-demo-base"
"""What the adapter calls its base: a name, because a path would be true on one machine only."""
_POLL_SECONDS = 0.5


@dataclass(frozen=True)
class AdapterSpec:
    """How many rows to train, validate and measure with; `seed` draws them, and the training's chance."""

    seed: int = 11
    num_train: int = 1_500
    num_valid: int = 150
    num_eval: int = 500


@dataclass(frozen=True)
class AdapterReport:
    """What was measured: exact match (0 to 1) on rows never trained on, losses in nats per answer token."""

    recipe: Recipe
    num_steps: int
    train_loss: float
    """Of the last step."""
    valid_loss: float
    """The best, whose weights were kept."""
    match_base: float
    match_adapter: float
    match_after_change: float


def build_adapter(spec: AdapterSpec, base: Path, out: Path, follow: Follow) -> AdapterReport:
    """Draw rows, train, write the PEFT folder, then measure what stands on disk.

    Raises:
        StropError: the training ended without an adapter.
    """
    rows = routing_rows(BEFORE, spec.seed, spec.num_train + spec.num_valid + spec.num_eval)
    learnt, held_out = rows[: -spec.num_eval], rows[-spec.num_eval :]
    changed = routing_rows(AFTER, spec.seed + 1, spec.num_eval)
    recipe = default_recipe(count_parameters(base), seed=spec.seed)
    with tempfile.TemporaryDirectory(prefix="strop-") as folder:
        training = _write_training(Path(folder), base, recipe, learnt, spec.num_valid)
        trained = asyncio.run(_train(training, follow("adapter")))
        _replace(out, Path(folder) / "adapter")
    bare, tokenizer = load(base)
    match_base = exact_match(bare, tokenizer, _chats(held_out))
    adapted, tokenizer = load(base, out)
    return AdapterReport(
        recipe=recipe,
        num_steps=trained.step,
        train_loss=trained.loss or 0.0,
        valid_loss=trained.valid_loss or 0.0,
        match_base=match_base,
        match_adapter=exact_match(adapted, tokenizer, _chats(held_out)),
        match_after_change=exact_match(adapted, tokenizer, _chats(changed)),
    )


def _write_training(
    folder: Path, base: Path, recipe: Recipe, rows: list[Row], num_valid: int
) -> Path:
    """Write what the trainer reads; returns the path of its spec."""
    examples = parse_examples((json.dumps(row).encode() for row in rows), "the demo's rows")
    train_file, valid_file = folder / "train.jsonl", folder / "valid.jsonl"
    write_rows(train_file, examples[num_valid:], system_prompt=None)
    write_rows(valid_file, examples[:num_valid], system_prompt=None)
    spec = TrainingSpec(
        base_model=str(base.absolute()),
        base_name=BASE_NAME,
        recipe=recipe,
        limits=Limits(nice=0),
        train_file=str(train_file),
        valid_file=str(valid_file),
        adapter_dir=str(folder / "adapter"),
        checkpoint_dir=str(folder / "checkpoints"),
        progress_file=str(folder / "progress.jsonl"),
    )
    write_spec(folder / "spec.json", spec)
    return folder / "spec.json"


async def _train(spec_path: Path, watch: Watch) -> Progress:
    """Run the trainer in its own process, as every run does; returns what it reported last."""
    executor = LocalExecutor()
    handle = await executor.submit(spec_path)
    try:
        while (status := await executor.poll(handle)).state is TrainingState.RUNNING:
            _show(status, watch)
            await asyncio.sleep(_POLL_SECONDS)
    finally:
        await executor.cancel(handle)
    if status.state is not TrainingState.DONE or status.progress is None:
        raise StropError(f"The adapter was not trained: {status.message}")
    return status.progress


def _show(status: TrainingStatus, watch: Watch) -> None:
    progress = status.progress
    if progress and progress.loss is not None:
        watch(progress.step, progress.total_steps, progress.loss)


def _replace(folder: Path, new: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    shutil.move(new, folder)


def _chats(rows: list[Row]) -> list[Chat]:
    return [row["messages"] for row in rows]
