"""What the training tells while it runs: progress lines, complete checkpoints, and when it breaks."""

import math
import time
from pathlib import Path
from typing import Any

import msgspec
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from retrain.recipe import Recipe
from retrain.spec import Progress, report
from retrain.trainer.checkpoints import keep_checkpoint
from serving.errors import InvalidRequestError

_SECONDS_BETWEEN_LINES = 1.0


class Watch(TrainerCallback):
    """Writes progress.jsonl, keeps checkpoints, and stops a training whose loss is no number."""

    def __init__(self, progress_file: Path, recipe: Recipe) -> None:
        self._file = progress_file
        self._recipe = recipe
        self._progress = Progress()
        self._first_step = 0
        self._begun = self._written = time.monotonic()

    def tell(self, **fields: Any) -> None:
        """Write a line at once: the newest progress, with these fields changed."""
        self._progress = msgspec.structs.replace(self._progress, **fields)
        report(self._file, self._progress)
        self._progress = msgspec.structs.replace(self._progress, message=None)
        self._written = time.monotonic()

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Note where this process begins, which is a checkpoint where there was one."""
        self._begun, self._first_step = time.monotonic(), state.global_step
        self._follow(state)

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Ask for a last evaluation: the last steps count too."""
        if state.global_step >= state.max_steps:
            control.should_evaluate = True

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **_: Any,
    ) -> None:
        """Write a line, once a second; refuse a loss that is no number.

        Raises:
            InvalidRequestError: the loss is infinite or not a number.
        """
        losses = {
            field: logs[name]
            for name, field in (("loss", "loss"), ("eval_loss", "valid_loss"))
            if logs and name in logs
        }
        for loss in losses.values():
            self._check(loss, state)
        self._progress = msgspec.structs.replace(self._progress, **losses)
        self._beat(state)

    def on_prediction_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Stay alive in the eyes of whoever watches while a long validation runs."""
        self._beat(state)

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Keep the checkpoint that was written, and the best."""
        assert args.output_dir is not None
        checkpoint = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        keep_checkpoint(checkpoint, best=Path(state.best_model_checkpoint or checkpoint))

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Say what came out."""
        self._follow(state, valid_loss=state.best_metric, message="Trained; saving the adapter.")

    def _check(self, loss: float, state: TrainerState) -> None:
        if not math.isfinite(loss):
            raise InvalidRequestError(
                f"The loss became {loss} at step {state.global_step}. Look for broken rows among "
                "those imported and corrected, or train again: with other random numbers.",
                code="diverged",
            )

    def _beat(self, state: TrainerState) -> None:
        if time.monotonic() - self._written >= _SECONDS_BETWEEN_LINES:
            self._follow(state)

    def _follow(self, state: TrainerState, **fields: Any) -> None:
        self.tell(
            step=state.global_step,
            total_steps=state.max_steps,
            epoch=state.global_step / max(state.max_steps, 1) * self._recipe.num_epochs,
            num_tokens=state.num_input_tokens_seen,
            seconds_left=self._seconds_left(state),
            **fields,
        )

    def _seconds_left(self, state: TrainerState) -> float | None:
        done: int = state.global_step - self._first_step
        if done == 0:
            return None
        num_left: int = state.max_steps - state.global_step
        return (time.monotonic() - self._begun) / done * num_left
