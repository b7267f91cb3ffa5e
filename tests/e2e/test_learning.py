"""The learning half on real vLLM, by the commands alone: rows in, a run, a gate, an answer."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from deploy.demo.company import BEFORE, ROUTING_PROMPT, routing_rows
from tests.rows import answers, apart, percent_right, shuffled, write_rows
from tests.scale import Scale
from tests.stack import BASE_MODEL, ROOT, START_SECONDS, Stack

ALIAS = "desk"
NUM_EVAL = 500
TRAINING_SECONDS = 1_800
PLAIN = "desk-plain"
pytestmark = pytest.mark.timeout(START_SECONDS + 2 * TRAINING_SECONDS)


@pytest.fixture(scope="module")
def learnt(
    stack: Stack, scale: Scale, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Any]]:
    """A run of a new alias on rows of its own, to its end: `strop runs show`."""
    folder = tmp_path_factory.mktemp("rows")
    rows = routing_rows(BEFORE, 21, scale.count(450, full=1_500))
    items = apart(routing_rows, NUM_EVAL, seed=22, known=rows)
    stack.strop("aliases", "create", ALIAS, "--task", "classify", "--system-prompt", ROUTING_PROMPT)
    import_rows(stack, write_rows(folder / "eval.jsonl", items), "eval")
    import_rows(stack, write_rows(folder / "train.jsonl", rows), "train")
    return stack.strop("train", ALIAS, "--wait", seconds=TRAINING_SECONDS)


@pytest.fixture(scope="module")
def champion(stack: Stack, learnt: dict[str, Any]) -> dict[str, Any]:
    """The run whose release was promoted: without force, for it has passed its gate."""
    stack.strop("promote", ALIAS, str(learnt["release"]))
    return learnt


async def test_what_learnt_is_promoted_without_force_and_answers(
    stack: Stack, champion: dict[str, Any]
) -> None:
    """The gate passes it by its numbers; after `strop promote` clients get its answers."""
    verdict = champion["verdict"]
    assert champion["state"] == "passed"
    assert verdict["num_items"] == NUM_EVAL
    assert verdict["candidate_score"] > verdict["champion_score"] + 0.2
    rows = routing_rows(BEFORE, 23, 100)
    said = await answers(stack.url, stack.headers, ALIAS, rows)
    assert percent_right(said, rows) > 100 * verdict["candidate_score"] - 20


async def test_its_folder_is_one_that_peft_and_plain_vllm_load(
    stack: Stack, champion: dict[str, Any], tmp_path: Path
) -> None:
    """A copy of the folder, given to vLLM by its own API and to PEFT, answers as the alias does."""
    adapter = stack.strop("releases", "show", ALIAS, str(champion["release"]))["adapter"]
    folder = shutil.copytree(stack.settings.adapter_dir / adapter, tmp_path / PLAIN)
    rows = routing_rows(BEFORE, 24, 20)
    ours = await answers(stack.engine_url, {}, adapter, rows)
    async with httpx.AsyncClient(base_url=stack.engine_url, timeout=120) as client:
        body = {"lora_name": PLAIN, "lora_path": str(folder)}
        loaded = await client.post("/v1/load_lora_adapter", json=body)
        assert loaded.status_code == 200, loaded.text
        plain = await answers(stack.engine_url, {}, PLAIN, rows)
        await client.post("/v1/unload_lora_adapter", json={"lora_name": PLAIN})
    assert plain == ours
    assert percent_same(peft_answers(folder, write_rows(tmp_path / "rows.jsonl", rows)), ours) >= 90


@pytest.mark.prove
def test_shuffled_labels_are_rejected_with_their_numbers(
    stack: Stack, champion: dict[str, Any], tmp_path: Path, scale: Scale
) -> None:
    """A candidate that learnt nonsense loses against the champion, which stays."""
    rows = shuffled(routing_rows(BEFORE, 21, 450))
    import_rows(stack, write_rows(tmp_path / "train.jsonl", rows), "train", "--replace")
    run = stack.strop("train", ALIAS, "--wait", seconds=TRAINING_SECONDS, code=1)
    assert run["state"] == "rejected"
    assert stack.strop("releases", "list", ALIAS)["champion"] == champion["release"]
    verdict = run["verdict"]
    assert verdict["candidate_score"] < verdict["champion_score"]
    scale.record(
        "shuffled",
        items=verdict["num_items"],
        champion_score=round(100 * verdict["champion_score"], 1),
        candidate_score=round(100 * verdict["candidate_score"], 1),
        reason=verdict["reason"],
    )


def import_rows(stack: Stack, path: Path, split: str, *options: str) -> None:
    """Import a file by the command."""
    stack.strop("datasets", "import", ALIAS, str(path), "--split", split, *options)


def peft_answers(folder: Path, rows: Path) -> list[str]:
    """Answer the rows by transformers and PEFT, in a process that may import torch."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.peft_answers", str(BASE_MODEL), str(folder), str(rows)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def percent_same(these: list[str], those: list[str]) -> float:
    """Return how many answers are alike, in percent."""
    return 100 * sum(one == other for one, other in zip(these, those, strict=True)) / len(these)
