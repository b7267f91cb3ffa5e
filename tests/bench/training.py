"""How long our trainer takes beside a bare PEFT loop on the same rows: `python -m tests.bench.training`.

Both train the same adapter on the same batches in processes of their own, one after the other.
Times count from the first batch to the last, loading left out; ours include its validations and
checkpoints, which the bare loop does not have.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path
from typing import Any

from retrain.recipe import count_parameters, default_recipe
from retrain.spec import Limits, TrainingSpec, read_spec, write_spec
from tests.training import make_base, make_rows, run_trainer


def main() -> None:
    """Compare, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--base", type=Path, help="folder of a base; a tiny one is made if left out"
    )
    parser.add_argument("--rows", type=Path, help="train.jsonl; made if left out")
    parser.add_argument("--num-rows", type=int, default=1500, help="how many are made")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--bare", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.bare:
        sys.stdout.write(json.dumps(train_bare(options.bare)))
        return
    with tempfile.TemporaryDirectory(prefix="strop-") as folder:
        result = compare(Path(folder), options)
    sys.stdout.write(f"{json.dumps(result) if options.json else describe(result)}\n")


def compare(folder: Path, options: argparse.Namespace) -> dict[str, float]:
    """Run both on the same spec; returns seconds, steps and their ratio."""
    spec_path = write_training(folder, options)
    bare = json.loads(
        subprocess.run(
            [sys.executable, "-m", "tests.bench.training", "--bare", str(spec_path)],
            stdout=subprocess.PIPE,
            check=True,
        ).stdout
    )
    code, printed = run_trainer(spec_path)
    if code:
        sys.exit(printed)
    ours = read_times(Path(read_spec(spec_path).progress_file))
    per_step = ours["seconds"] / ours["num_steps"], bare["seconds"] / bare["num_steps"]
    return {
        "strop_seconds": ours["seconds"],
        "strop_steps": ours["num_steps"],
        "bare_seconds": bare["seconds"],
        "bare_steps": bare["num_steps"],
        "ratio": per_step[0] / per_step[1],
    }


def write_training(folder: Path, options: argparse.Namespace) -> Path:
    """Write the spec of what both train, by the default recipe for this base."""
    base = options.base or make_base(folder / "base")
    rows = options.rows or make_rows(folder / "train.jsonl", options.num_rows)
    spec = TrainingSpec(
        base_model=str(base.absolute()),
        base_name=base.name,
        recipe=default_recipe(count_parameters(base)),
        limits=Limits(threads=options.threads, nice=0),
        train_file=str(rows.absolute()),
        valid_file=str(make_valid(folder / "valid.jsonl", rows)),
        adapter_dir=str(folder / "adapter"),
        checkpoint_dir=str(folder / "checkpoints"),
        progress_file=str(folder / "progress.jsonl"),
    )
    write_spec(folder / "spec.json", spec)
    return folder / "spec.json"


def make_valid(path: Path, rows: Path) -> Path:
    """Take every tenth row: what is learnt does not matter here, how long it takes does."""
    path.write_text("".join(f"{line}\n" for line in rows.read_text().splitlines()[::10]))
    return path


def read_times(progress_file: Path) -> dict[str, float]:
    """Return how long the steps took, from the first line with a total to the last line."""
    lines = [json.loads(line) for line in progress_file.read_text().splitlines()]
    training = [line for line in lines if line.get("total_steps")]
    begun, ended = (datetime.fromisoformat(line["at"]) for line in (training[0], training[-1]))
    return {"seconds": (ended - begun).total_seconds(), "num_steps": training[-1]["step"]}


def train_bare(spec_path: Path) -> dict[str, float]:
    """Train with PEFT and a loop of ten lines."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from retrain.trainer.order import training_order
    from retrain.trainer.rows import read_rows

    spec = read_spec(spec_path)
    recipe = spec.recipe
    torch.set_num_threads(spec.limits.threads or 1)
    tokenizer = AutoTokenizer.from_pretrained(spec.base_model)
    rows = read_rows(Path(spec.train_file), tokenizer, recipe.max_length).rows
    base = AutoModelForCausalLM.from_pretrained(spec.base_model, dtype=torch.float32)
    lora = LoraConfig(
        task_type="CAUSAL_LM",
        r=recipe.rank,
        lora_alpha=recipe.alpha,
        lora_dropout=recipe.dropout,
        target_modules="all-linear",
    )
    model = get_peft_model(base, lora)
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=recipe.learning_rate, fused=True)
    lengths = [len(row.input_ids) for row in rows]
    order = training_order(lengths, recipe.batch_size, recipe.num_epochs, recipe.seed)
    starts = range(0, len(order), recipe.batch_size)
    begun = time.monotonic()
    for start in starts:
        batch = [rows[row] for row in order[start : start + recipe.batch_size]]
        longest = -(-max(len(row.input_ids) for row in batch) // 16) * 16
        model(
            input_ids=_pad(batch, "input_ids", longest), labels=_pad(batch, "labels", longest)
        ).loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, recipe.max_grad_norm)
        optimizer.step()
        optimizer.zero_grad()
    return {"seconds": time.monotonic() - begun, "num_steps": len(starts)}


def describe(result: dict[str, float]) -> str:
    """Return the result in a sentence."""
    return (
        f"ours {result['strop_seconds']:.1f} s for {result['strop_steps']} steps, a bare PEFT loop "
        f"{result['bare_seconds']:.1f} s for {result['bare_steps']}: {result['ratio']:.2f} times a step"
    )


def _pad(batch: list[Any], field: str, length: int) -> Any:
    import torch

    filler = -100 if field == "labels" else 0
    return torch.tensor(
        [getattr(row, field) + [filler] * (length - len(getattr(row, field))) for row in batch]
    )


if __name__ == "__main__":
    main()
