"""The trainer contract's files: written, read, and read while they are being written."""

import json
from pathlib import Path

import msgspec
import pytest

from retrain.examples import Example, Message
from retrain.recipe import Recipe
from retrain.spec import (
    Limits,
    Progress,
    TrainingSpec,
    last_progress,
    read_spec,
    report,
    write_rows,
    write_spec,
)
from serving.errors import ConfigurationError


def spec(folder: Path) -> TrainingSpec:
    """Return a spec whose files stand in `folder`."""
    for name in ("train.jsonl", "valid.jsonl"):
        (folder / name).write_text(f'{{"prompt": [], "completion": [], "of": "{name}"}}\n')
    return TrainingSpec(
        base_model="a base",
        base_name="base",
        recipe=Recipe(),
        train_file=str(folder / "train.jsonl"),
        valid_file=str(folder / "valid.jsonl"),
        adapter_dir=str(folder / "adapter"),
        checkpoint_dir=str(folder / "checkpoints"),
        progress_file=str(folder / "progress.jsonl"),
    )


def test_a_spec_reads_as_it_was_written(tmp_path: Path) -> None:
    """All of it, limits and recipe too."""
    written = msgspec.structs.replace(spec(tmp_path), limits=Limits(memory_bytes=2**31, threads=1))
    write_spec(tmp_path / "spec.json", written)
    assert read_spec(tmp_path / "spec.json") == written


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"base_modle": "x"}'])
def test_what_is_no_spec_is_refused(tmp_path: Path, content: str) -> None:
    """The error names the file; a missing file likewise."""
    path = tmp_path / "spec.json"
    with pytest.raises(ConfigurationError, match=r"spec\.json cannot be read"):
        read_spec(path)
    path.write_text(content)
    with pytest.raises(ConfigurationError, match=r"spec\.json is no training spec"):
        read_spec(path)


def test_rows_and_recipe_make_another_training_and_limits_do_not(tmp_path: Path) -> None:
    """So a training goes on from its checkpoint with more memory, and never with other rows."""
    first = spec(tmp_path)
    limited = msgspec.structs.replace(first, limits=Limits(memory_bytes=2**32))
    assert limited.content_hash == first.content_hash
    other = msgspec.structs.replace(first, recipe=Recipe(seed=1))
    assert other.content_hash != first.content_hash
    before = first.content_hash
    Path(first.train_file).write_text("other rows\n")
    assert first.content_hash != before


def test_rows_are_in_trls_format_with_the_system_prompt_first(tmp_path: Path) -> None:
    """A row that brings its own system message keeps it; tools stand beside the messages."""
    answer = Message("assistant", "billing")
    tool = {"type": "function", "function": {"name": "look_up"}}
    rows = [
        Example(prompt=(Message("user", "my card"),), answer=answer, tools=(tool,)),
        Example(prompt=(Message("system", "own"), Message("user", "hello")), answer=answer),
    ]
    assert write_rows(tmp_path / "train.jsonl", rows, "Name the queue.") == 2
    first, second = map(json.loads, (tmp_path / "train.jsonl").read_text().splitlines())
    assert first == {
        "prompt": [
            {"role": "system", "content": "Name the queue."},
            {"role": "user", "content": "my card"},
        ],
        "completion": [{"role": "assistant", "content": "billing"}],
        "tools": [tool],
    }
    assert second["prompt"][0] == {"role": "system", "content": "own"}
    assert "tools" not in second


def test_the_newest_whole_line_is_the_progress(tmp_path: Path) -> None:
    """A line that is still being written, or that a crash cut, does not count."""
    path = tmp_path / "progress.jsonl"
    assert last_progress(path) is None
    report(path, Progress(step=1, total_steps=9))
    report(path, Progress(step=2, total_steps=9, loss=1.5))
    with path.open("a") as file:
        file.write('{"step": 3')
    found = last_progress(path)
    assert found is not None
    assert (found.step, found.loss) == (2, 1.5)
    assert found.at is not None
    with path.open("a") as file:
        file.write('{"step": 4, "learning_rate": 0.1}\n{"step": 5, "of_another": "trainer"}\n')
    found = last_progress(path)
    assert found is not None
    assert found.step == 5
