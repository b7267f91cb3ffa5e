"""The trainer: `python -m retrain.train SPEC`. A process of its own, that nobody imports."""

import os
import signal
import sys
import traceback
from pathlib import Path
from types import FrameType
from typing import NoReturn

from retrain.spec import Exit, Progress, TrainingSpec, read_spec, report
from retrain.trainer.limits import cap_memory, is_disk_full, is_out_of_memory, lower_priority
from serving.errors import StropError


class Cancelled(BaseException):
    """SIGTERM came. Not an Exception: no library may take it for a failure of its own."""


def run(spec: TrainingSpec) -> Exit:
    """Train as `spec` says, and say how it ended."""
    signal.signal(signal.SIGTERM, _cancel)
    try:
        cap_memory(spec.limits)
        lower_priority(spec.limits)
        _stay_at_home()
        # Only now: torch counts its threads and reserves its memory when it is imported.
        from retrain.trainer.steps import train

        train(spec)
    except Cancelled:
        return Exit.CANCELLED
    except Exception as error:  # noqa: BLE001 - whatever it was, the contract asks for its words
        traceback.print_exc()
        _say_why(spec, error)
        return Exit.OUT_OF_MEMORY if is_out_of_memory(error) else Exit.FAILED
    return Exit.DONE


def _stay_at_home() -> None:
    """Keep every library from the network: hub look-ups, and TRL's telemetry on each training."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    os.environ["TOKENIZERS_PARALLELISM"] = "false"


def _say_why(spec: TrainingSpec, error: Exception) -> None:
    try:
        report(Path(spec.progress_file), Progress(error=_explain(spec, error)))
    except OSError:  # the disk is what failed; the log has both
        traceback.print_exc()


def _explain(spec: TrainingSpec, error: Exception) -> str:
    if is_out_of_memory(error):
        return (
            f"Out of memory: {error}. Raise train.memory_gib or train.gpu_memory_gib in "
            "strop.toml as far as the machine has it, or serve a smaller base model."
        )
    if is_disk_full(error):
        return (
            f"The disk under {spec.checkpoint_dir} is full: {error}. Make room and run it again; "
            "it goes on from its last checkpoint."
        )
    return error.message if isinstance(error, StropError) else f"{type(error).__name__}: {error}"


def _cancel(signal_number: int, frame: FrameType | None) -> NoReturn:
    raise Cancelled


def main() -> None:
    """Read the spec named on the command line, train, exit by the contract."""
    if len(sys.argv) != 2:
        sys.exit("usage: python -m retrain.train SPEC")
    try:
        spec = read_spec(Path(sys.argv[1]))
    except StropError as error:
        sys.exit(error.message)
    sys.exit(run(spec))


if __name__ == "__main__":
    main()
