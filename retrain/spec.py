"""The trainer contract: what a trainer reads, what it writes, and how it ends.

In: `spec.json`, and `train.jsonl` and `valid.jsonl` in TRL's conversational prompt-completion format,
one line each: {"prompt": [messages], "completion": [one message], "tools": [...] or left out}.
Out: a PEFT folder, which appears whole or not at all, and `progress.jsonl`, which is the heartbeat too.
Run again after any death, a trainer goes on from its last checkpoint.
"""

from collections.abc import Iterable
from datetime import UTC, datetime
from enum import IntEnum
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec

from retrain.examples import Example, for_template, with_system
from retrain.recipe import Recipe
from serving.errors import ConfigurationError

_TAIL_BYTES = 65_536


class Exit(IntEnum):
    """How a trainer ends."""

    DONE = 0  # the adapter's folder is there
    FAILED = 1  # the last line of progress.jsonl says why
    CANCELLED = 3  # told to by SIGTERM
    OUT_OF_MEMORY = 4  # over `limits`, or more than the machine has


class Limits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a training may take from a machine that serves at the same time. None: no limit.

    Attributes:
        memory_bytes: main memory.
        gpu_memory_bytes: memory of the card.
        threads: that compute.
        nice: priority, 0 (as the engine's) to 19 (what nobody else wants).
    """

    memory_bytes: int | None = None
    gpu_memory_bytes: int | None = None
    threads: int | None = None
    nice: int = 10


class TrainingSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """spec.json. Paths are absolute.

    Attributes:
        base_model: folder of the base, or a name that is in the local hub cache.
        base_name: what the adapter's configuration calls its base; no path of this machine.
        train_file, valid_file: the examples.
        adapter_dir: the PEFT folder to make. One that exists was made by this spec.
        checkpoint_dir: belongs to the trainer, which empties it when it is done.
        progress_file: lines of `Progress`, appended.
    """

    base_model: str
    base_name: str
    recipe: Recipe
    limits: Limits = Limits()
    train_file: str
    valid_file: str
    adapter_dir: str
    checkpoint_dir: str
    progress_file: str

    @property
    def content_hash(self) -> str:
        """What makes two trainings the same: base, recipe and rows; 32 hexadecimal digits."""
        parts = [
            self.base_model.encode(),
            msgspec.json.encode(self.recipe),
            Path(self.train_file).read_bytes(),
            Path(self.valid_file).read_bytes(),
        ]
        return sha256(b"".join(sha256(part).digest() for part in parts)).hexdigest()[:32]


class Progress(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A line of progress.jsonl. Fields that another trainer adds are ignored.

    Attributes:
        step, total_steps: steps of the optimiser, done and planned.
        epoch: passes over the examples so far.
        loss, valid_loss: nats per learnt token, the newest known.
        num_tokens: tokens read in training so far, padding not counted.
        seconds_left: as the steps so far suggest; early stopping may end sooner.
        num_trainable, num_parameters: of adapter and base.
        at: UTC.
        message: what a person may want to know.
        error: why the training failed, with the mend. Only on the last line.
    """

    step: int = 0
    total_steps: int = 0
    epoch: float = 0.0
    loss: float | None = None
    valid_loss: float | None = None
    num_tokens: int = 0
    seconds_left: float | None = None
    num_trainable: int | None = None
    num_parameters: int | None = None
    at: datetime | None = None
    message: str | None = None
    error: str | None = None


def write_spec(path: Path, spec: TrainingSpec) -> None:
    """Write spec.json."""
    path.write_bytes(msgspec.json.format(msgspec.json.encode(spec)))


def read_spec(path: Path) -> TrainingSpec:
    """Read spec.json.

    Raises:
        ConfigurationError: the file is missing or no spec.
    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=TrainingSpec)
    except OSError as error:
        raise ConfigurationError(f"The spec {path} cannot be read: {error}.") from error
    except msgspec.MsgspecError as error:
        raise ConfigurationError(f"{path} is no training spec: {error}.") from error


def write_rows(path: Path, examples: Iterable[Example], system_prompt: str | None) -> int:
    """Write examples as TRL reads them, the system prompt first unless a row brings its own.

    Returns:
        The number of rows written.
    """
    encode = msgspec.json.Encoder().encode
    lines = [encode(_row(example, system_prompt)) + b"\n" for example in examples]
    path.write_bytes(b"".join(lines))
    return len(lines)


def report(path: Path, progress: Progress) -> None:
    """Append a line to progress.jsonl, stamped with the time, in one write."""
    stamped = msgspec.structs.replace(progress, at=datetime.now(UTC))
    with path.open("ab") as file:
        file.write(msgspec.json.encode(stamped) + b"\n")


def last_progress(path: Path) -> Progress | None:
    """Return the newest whole line of progress.jsonl; None while there is none."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - _TAIL_BYTES))
            lines = file.read().splitlines(keepends=True)
    except FileNotFoundError:
        return None
    for line in reversed(lines):
        if line.endswith(b"\n"):
            try:
                return msgspec.json.decode(line, type=Progress)
            except msgspec.MsgspecError:  # cut by a crash in the middle of a write; the one before
                continue
    return None


def _row(example: Example, system_prompt: str | None) -> dict[str, Any]:
    prompt = [for_template(turn) for turn in with_system(example.prompt, system_prompt)]
    row: dict[str, Any] = {"prompt": prompt, "completion": [for_template(example.answer)]}
    if example.tools:
        row["tools"] = example.tools
    return row
