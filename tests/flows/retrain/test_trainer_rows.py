"""What the trainer learns from a row: the answer, given the prompt as the engine renders it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from serving.errors import InvalidRequestError
from tests.training import make_base

pytestmark = pytest.mark.timeout(600)  # on a cold disk its imports alone take minutes

Read = Callable[..., Any]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A tokenizer of single bytes. Imported here: it takes seconds; `AutoTokenizer` takes ten."""
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast.from_pretrained(
        make_base(tmp_path_factory.mktemp("rows") / "base")
    )


@pytest.fixture
def read(tokenizer: Any, tmp_path: Path) -> Read:
    """Read rows by the trainer's own reader."""
    from retrain.trainer.rows import read_rows

    def read_file(rows: list[dict[str, Any]], max_length: int = 100) -> Any:
        path = tmp_path / "train.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return read_rows(path, tokenizer, max_length)

    return read_file


def row(question: str, answer: str, **fields: Any) -> dict[str, Any]:
    """Return a row of one turn."""
    prompt = [{"role": "user", "content": question}]
    return {"prompt": prompt, "completion": [{"role": "assistant", "content": answer}], **fields}


def test_only_the_answer_and_its_end_are_learnt(read: Read, tokenizer: Any) -> None:
    """The prompt stands there, with its generation prompt, and is not learnt."""
    (tokens,) = read([row("hi", "yo")]).rows
    assert tokenizer.decode(tokens.input_ids) == "<|user|>hi<|end|><|assistant|>yo<|end|>"
    learnt = [label for label in tokens.labels if label >= 0]
    assert tokenizer.decode(learnt) == "yo<|end|>"
    assert tokens.labels[-len(learnt) :] == tokens.input_ids[-len(learnt) :] == learnt


def test_rows_that_are_cut_or_lose_their_answer_are_counted(read: Read) -> None:
    """Twelve tokens: the first fits, the second loses its end, the third all of its answer."""
    found = read([row("hi", "yo"), row("hi", "y" * 20), row("h" * 20, "yo")], max_length=12)
    assert [len(tokens.input_ids) for tokens in found.rows] == [8, 12]
    assert (found.num_cut, found.num_dropped) == (2, 1)
    with pytest.raises(InvalidRequestError, match=r"within 12 tokens\. Import shorter"):
        read([row("h" * 20, "yo")], max_length=12)


def test_tools_reach_the_template_as_they_were_written(
    read: Read, tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows with different arguments keep their own: nothing is filled with nulls."""
    template = "{{ tools | tojson }}{% for message in messages %}{{ message.content }}{% endfor %}"
    monkeypatch.setattr(tokenizer, "chat_template", template)
    tools = [{"name": "a", "arguments": {"x": 1}}], [{"name": "b", "arguments": {"y": "2"}}]
    found = read([row("hi", "yo", tools=tool) for tool in tools], max_length=1000)
    for tokens, tool in zip(found.rows, tools, strict=True):
        assert json.loads(tokenizer.decode(tokens.input_ids).removesuffix("hiyo")) == tool
