"""Rows to token ids, and to the datasets that training reads."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datasets import Dataset
from transformers import PreTrainedTokenizerBase

from retrain.trainer.order import training_order
from serving.errors import InvalidRequestError

IGNORED = -100
"""The label that the loss skips."""


@dataclass(frozen=True, slots=True)
class Tokens:
    """One row: ids and labels `[length]`; labels are `IGNORED` up to where the answer begins."""

    input_ids: list[int]
    labels: list[int]


@dataclass(frozen=True, slots=True)
class TokenizedRows:
    """What can be learnt from, and how much of the file that is."""

    rows: list[Tokens]
    num_cut: int
    num_dropped: int


def read_rows(path: Path, tokenizer: PreTrainedTokenizerBase, max_length: int) -> TokenizedRows:
    """Read and tokenise a file of prompt-completion rows.

    Not by `datasets`: Arrow gives all rows one shape, and so fills tool arguments with nulls that
    nobody wrote.

    Raises:
        InvalidRequestError: no row has an answer within `max_length` tokens.
    """
    read = [_tokenize(json.loads(line), tokenizer) for line in path.read_bytes().splitlines()]
    cut = [Tokens(row.input_ids[:max_length], row.labels[:max_length]) for row in read]
    rows = [row for row in cut if any(label != IGNORED for label in row.labels)]
    if not rows:
        raise InvalidRequestError(
            f"No row of {path} has an answer within {max_length} tokens. Import shorter ones."
        )
    num_cut = sum(len(row.input_ids) > max_length for row in read)
    return TokenizedRows(rows, num_cut, len(read) - len(rows))


def training_set(rows: Sequence[Tokens], batch_size: int, num_epochs: int, seed: int) -> Dataset:
    """Return all epochs one after the other, in training order.

    The order is fixed beforehand and read from front to back: a training that goes on from a
    checkpoint sees the very rows that it would have seen.
    """
    lengths = [len(row.input_ids) for row in rows]
    return to_dataset([rows[at] for at in training_order(lengths, batch_size, num_epochs, seed)])


def validation_set(rows: Sequence[Tokens], max_examples: int) -> Dataset:
    """Return the first rows, shortest first, so that they pad little."""
    return to_dataset(sorted(rows[:max_examples], key=lambda row: len(row.input_ids)))


def to_dataset(rows: Sequence[Tokens]) -> Dataset:
    """Return rows as TRL takes them when they are tokenised already."""
    return Dataset.from_dict(
        {"input_ids": [row.input_ids for row in rows], "labels": [row.labels for row in rows]}
    )


def _tokenize(row: dict[str, Any], tokenizer: PreTrainedTokenizerBase) -> Tokens:
    """Render by the base's chat template, as the engine does; learn what the prompt does not say."""
    tools = row.get("tools")
    prompt: Any = tokenizer.apply_chat_template(
        row["prompt"], tools=tools, add_generation_prompt=True, return_dict=False
    )
    whole: Any = tokenizer.apply_chat_template(
        row["prompt"] + row["completion"], tools=tools, return_dict=False
    )
    same = 0
    while same < min(len(prompt), len(whole)) and prompt[same] == whole[same]:
        same += 1
    return Tokens(list(whole), [IGNORED] * same + list(whole[same:]))
