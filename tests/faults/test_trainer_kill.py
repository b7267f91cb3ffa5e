"""Real trainings that are killed, cancelled, starved or led astray: a clear end, and never half an adapter."""

import json
import signal
import subprocess
import sys
from pathlib import Path
from random import Random

import numpy as np
import pytest
from safetensors.numpy import load_file

from retrain.executor import LocalExecutor, TrainingState
from retrain.spec import Exit, Limits, last_progress
from tests.contracts.test_executor import until
from tests.scale import Scale
from tests.training import ROOT, make_base, make_training, run_trainer

# Importing torch alone takes a minute when the machine is busy.
pytestmark = pytest.mark.timeout(600)

DEADLINE_SECONDS = 300
NUM_STEPS, INTERVAL = 18, 3
"""Of a training as `make_training` writes it, and how often it keeps a checkpoint."""
MORTAL = Path(__file__).with_name("mortal_trainer.py")
LOAD_WITH_PEFT = """
import sys
from peft import PeftModel
from transformers import AutoModelForCausalLM
base = AutoModelForCausalLM.from_pretrained(sys.argv[1])
model = PeftModel.from_pretrained(base, sys.argv[2])
print(sum(float(value.abs().sum()) for name, value in model.named_parameters() if "lora_B" in name))
"""


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny base."""
    return make_base(tmp_path_factory.mktemp("training") / "base")


@pytest.fixture(scope="module")
def trained(base: Path) -> Path:
    """The folder of a training that nothing disturbed."""
    spec_path = make_training(base.parent / "undisturbed", base)
    code, printed = run_trainer(spec_path)
    assert code == Exit.DONE, printed
    return spec_path.parent


def test_the_adapter_is_a_peft_folder(trained: Path, base: Path) -> None:
    """Configuration and weights, no path of this machine, no checkpoint left; PEFT loads it."""
    adapter = trained / "adapter"
    assert sorted(path.name for path in adapter.iterdir()) == [
        "adapter_config.json",
        "adapter_model.safetensors",
    ]
    config = json.loads((adapter / "adapter_config.json").read_text())
    assert (config["base_model_name_or_path"], config["r"], config["lora_alpha"]) == (
        "tiny",
        16,
        32,
    )
    assert str(base.parent) not in (adapter / "adapter_config.json").read_text()
    assert not (trained / "checkpoints").exists()
    loaded = subprocess.run(
        [sys.executable, "-c", LOAD_WITH_PEFT, str(base), str(adapter)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert float(loaded.stdout) > 0


def test_progress_tells_steps_losses_tokens_and_the_trainable_share(trained: Path) -> None:
    """The last line has all of it, and both losses have come down."""
    lines = (trained / "progress.jsonl").read_text().splitlines()
    last = json.loads(lines[-1])
    assert last["step"] == last["total_steps"] == NUM_STEPS
    assert last["loss"] < 5
    assert last["valid_loss"] < 5
    assert last["num_tokens"] > 1000
    assert 0 < last["num_trainable"] < last["num_parameters"]
    assert "96 rows" in json.loads(lines[0])["message"]


def test_a_trainer_killed_at_any_step_goes_on_to_the_same_adapter(
    trained: Path, base: Path, scale: Scale
) -> None:
    """kill -9 at random, half a checkpoint lying about: run again, the weights are the same."""
    for step in Random().sample(range(1, NUM_STEPS + 1), scale.count(1, 6)):  # noqa: S311
        spec_path = make_training(base.parent / f"killed-at-{step}", base)
        code, printed = run_trainer(spec_path, program=(str(MORTAL), str(step)))
        assert code == -signal.SIGKILL, printed
        assert not (spec_path.parent / "adapter").exists()
        half = next((spec_path.parent / "checkpoints").iterdir()) / "checkpoint-99"
        half.mkdir()
        (half / "adapter_model.safetensors").write_bytes(b"half")
        num_lines = len(progress_lines(spec_path))
        code, printed = run_trainer(spec_path)
        assert code == Exit.DONE, printed
        begins = (line for line in progress_lines(spec_path)[num_lines:] if "total_steps" in line)
        # A step ends before its checkpoint is written.
        assert json.loads(next(begins)).get("step", 0) == (step - 1) // INTERVAL * INTERVAL
        assert_same_weights(spec_path.parent / "adapter", trained / "adapter")


def test_the_recipe_of_a_large_base_trains_too(base: Path) -> None:
    """bfloat16, recomputed activations, small micro-batches, TRL's own loss: one adapter as well."""
    spec_path = make_training(
        base.parent / "large",
        base,
        saves_memory=True,
        micro_batch_size=4,
        evaluations_per_epoch=1,
        dropout=0.05,
    )
    code, printed = run_trainer(spec_path)
    assert code == Exit.DONE, printed
    assert json.loads(progress_lines(spec_path)[-1])["valid_loss"] < 5
    assert adapters_of(spec_path) == [spec_path.parent / "adapter"]


async def test_a_cancelled_training_leaves_no_adapter(
    base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Through the executor that the worker uses: over within the grace, its words are clear."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    spec_path = make_training(base.parent / "cancelled", base, num_epochs=200, patience=1000)
    executor = LocalExecutor()
    handle = await executor.submit(spec_path)
    await until(
        executor,
        handle,
        lambda found: found.progress is not None and found.progress.step > 0,
        seconds=DEADLINE_SECONDS,
    )
    await executor.cancel(handle)
    assert (await executor.poll(handle)).state is TrainingState.CANCELLED
    assert (spec_path.parent / "trainer.exit").read_text().strip() == str(Exit.CANCELLED.value)
    assert adapters_of(spec_path) == []


def test_a_loss_that_is_no_number_fails(base: Path) -> None:
    """An absurd learning rate: the last line says which step, which loss, and what to do."""
    spec_path = make_training(base.parent / "diverged", base, learning_rate=1e30)
    code, printed = run_trainer(spec_path)
    assert code == Exit.FAILED, printed
    assert "The loss became" in error_of(spec_path)
    assert "Look for broken rows" in error_of(spec_path)
    assert adapters_of(spec_path) == []


@pytest.mark.parametrize("memory_bytes", [2**20, 2**30 + 2**28])
def test_too_little_memory_says_so(base: Path, memory_bytes: int) -> None:
    """Less than the libraries take, or than the batches do: exit code 4, and what to change."""
    spec_path = make_training(
        base.parent / f"starved-{memory_bytes}",
        base,
        num_rows=512,
        limits=Limits(memory_bytes=memory_bytes, threads=1),
        batch_size=512,
        micro_batch_size=512,
        rank=512,
    )
    code, printed = run_trainer(spec_path)
    assert code == Exit.OUT_OF_MEMORY, printed
    assert "Raise train.memory_gib" in error_of(spec_path)
    assert adapters_of(spec_path) == []


def test_a_full_disk_fails_and_says_where(base: Path) -> None:
    """No file may grow over 64 KiB: the checkpoint cannot be written, and nothing half is left."""
    spec_path = make_training(base.parent / "full", base)
    code, printed = run_trainer(spec_path, "/bin/sh", "-c", 'ulimit -f 128 && exec "$@"', "sh")
    assert code == Exit.FAILED, printed
    assert "is full" in error_of(spec_path)
    assert adapters_of(spec_path) == []


def progress_lines(spec_path: Path) -> list[str]:
    """Return the lines that the trainer reported."""
    return spec_path.with_name("progress.jsonl").read_text().splitlines()


def error_of(spec_path: Path) -> str:
    """Return why the trainer failed, by its own last line."""
    progress = last_progress(spec_path.with_name("progress.jsonl"))
    assert progress is not None
    assert progress.error is not None
    return progress.error


def adapters_of(spec_path: Path) -> list[Path]:
    """Return every adapter folder beside the spec, whole or half."""
    return list(spec_path.parent.glob("*adapter*"))


def assert_same_weights(one: Path, other: Path) -> None:
    """Compare two adapters, up to rounding."""
    first, second = (load_file(folder / "adapter_model.safetensors") for folder in (one, other))
    assert first.keys() == second.keys()
    for name, values in first.items():
        np.testing.assert_allclose(values, second[name], rtol=1e-4, atol=1e-6)
