"""Another task on another base, by the commands alone: nothing in Strop knows the demo's."""

import asyncio
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deploy.demo.company import BEFORE, EXTRACTION_PROMPT, extraction_rows
from retrain.recipe import count_parameters
from tests.rows import answers, apart, percent_right, write_rows
from tests.scale import Scale
from tests.stack import ROOT, START_SECONDS, running_stack

ALIAS = "tickets"
NUM_TRAIN, NUM_EVAL = 1_500, 500
BUILD_SECONDS = 3_600
TRAINING_SECONDS = 1_800
# Another seed, width and tokenizer than the embedded base's, and half its texts.
OTHER = ("--seed", "8", "--hidden-size", "192", "--vocab-size", "3072", "--size", "0.5")

pytestmark = [
    pytest.mark.prove,
    pytest.mark.engine,
    pytest.mark.timeout(BUILD_SECONDS + START_SECONDS + 3 * TRAINING_SECONDS),
]


@pytest.fixture(scope="module")
def other_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base folder like none that Strop has seen."""
    folder = tmp_path_factory.mktemp("other")
    run_module("deploy.demo.build", "--only", "base", "--out", str(folder), *OTHER)
    return folder / "base"


@pytest.fixture
def home() -> Iterator[Path]:
    """A home under a short path, because a socket's path may have 107 bytes."""
    with tempfile.TemporaryDirectory(prefix="strop-") as folder:
        yield Path(folder)


async def test_a_task_given_as_files_is_learnt_on_another_base(
    other_base: Path, home: Path, tmp_path: Path, scale: Scale
) -> None:
    """Create, import, train, promote: its answers are right where the bare base's are not.

    The training takes at most twice as long as a bare PEFT loop on the same rows.
    """
    rows = extraction_rows(BEFORE, 31, NUM_TRAIN)
    items = apart(extraction_rows, NUM_EVAL, seed=32, known=rows)
    asked = apart(extraction_rows, 200, seed=33, known=rows)
    with running_stack(home, STROP_ENGINE__BASE_MODEL=str(other_base)) as stack:
        prompt = ("--system-prompt", EXTRACTION_PROMPT)
        stack.strop("aliases", "create", ALIAS, "--task", "json", *prompt)
        for split, some in (("eval", items), ("train", rows)):
            path = write_rows(tmp_path / f"{split}.jsonl", some)
            stack.strop("datasets", "import", ALIAS, str(path), "--split", split)
        run = await asyncio.to_thread(
            stack.strop, "train", ALIAS, "--wait", seconds=TRAINING_SECONDS
        )
        stack.strop("promote", ALIAS, str(run["release"]))
        base, champion = [
            percent_right(await answers(stack.url, stack.headers, model, asked), asked)
            for model in ("base", ALIAS)
        ]
        stack.strop("datasets", "export", str(run["dataset"]), str(tmp_path / "dataset"))
    assert champion > base
    beside_bare = compare_training(other_base, tmp_path / "dataset" / "train.jsonl")
    scale.record(
        "second_task",
        millions=round(count_parameters(other_base) / 1e6, 1),
        items=run["verdict"]["num_items"],
        base_score=round(100 * run["verdict"]["champion_score"], 1),
        candidate_score=round(100 * run["verdict"]["candidate_score"], 1),
        base_percent=base,
        adapter_percent=champion,
        ratio=round(beside_bare["ratio"], 2),
    )
    assert beside_bare["ratio"] <= 2


def compare_training(base: Path, rows: Path) -> dict[str, Any]:
    """Train on the rows with ours and with a bare loop, one after the other."""
    compared = run_module(
        "tests.bench.training", "--base", str(base), "--rows", str(rows), "--json"
    )
    result: dict[str, Any] = json.loads(compared)
    return result


def run_module(module: str, *arguments: str) -> str:
    """Run a module of this checkout; returns what it printed."""
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=BUILD_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout
