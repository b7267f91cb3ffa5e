"""What learning is doing, in one sentence: a run that is under way, or why there is none. Pure."""

from typing import Any

from serving.store.learning import Decision, Run, RunState
from serving.store.tables import Alias


def tell_learning(alias: Alias, run: Run | None, decision: Decision | None) -> str:
    """Say what is happening to an alias, and why nothing is.

    Args:
        run: its newest.
        decision: the newest about it.
    """
    if run is not None and run.ended_at is None:
        return _tell_active(run)
    last = f" {_tell_ended(run)}" if run is not None else ""
    if alias.is_paused:
        return f"Learning is paused; `strop aliases resume {alias.name}` lets it go on.{last}"
    if decision is None:
        return f"No worker has looked at it yet.{last}"
    return f"{decision.last_reason}{last}"


def tell_run(run: Run) -> str:
    """Say where a run stands."""
    return _tell_ended(run) if run.ended_at is not None else _tell_active(run)


def tell_size(progress: dict[str, Any]) -> str | None:
    """Say how large a part of its base a run trains; None: the trainer has not told."""
    if not progress.get("num_parameters"):
        return None
    adapter, base = progress["num_trainable"], progress["num_parameters"]
    return f"{adapter:,} parameters, {adapter / base:.2%} of the base's {base:,}"


def _tell_active(run: Run) -> str:
    waiting = f" Waiting: {run.error}" if run.error else ""
    return f"Run {run.id} {_doing(run)}.{waiting}"


def _doing(run: Run) -> str:
    match run.state:
        case _ if run.is_cancelled:
            return "is being cancelled"
        case RunState.PASSED:
            return "passed and is being promoted"
        case RunState.QUEUED if run.error:
            return "is queued"
        case RunState.QUEUED:
            return "waits for the worker, which `strop up` runs"
        case RunState.TRAINING:
            return f"trains{_tell_progress(run.progress)}"
        case _:
            return f"is being evaluated{_tell_answers(run.progress)}"


def _tell_ended(run: Run) -> str:
    match run.state:
        case RunState.FAILED:
            return f"Run {run.id} failed: {run.error}"
        case RunState.CANCELLED:
            return f"Run {run.id} was cancelled."
        case _:
            error = f" Not promoted: {run.error}" if run.error else ""
            return f"Run {run.id} {run.state}. {(run.verdict or {}).get('reason', '')}{error}"


def _tell_progress(progress: dict[str, Any]) -> str:
    if not progress.get("total_steps"):
        return progress.get("message", "") and f": {progress['message']}"
    parts = [f"step {progress.get('step', 0)} of {progress['total_steps']}"]
    for name, word in (("loss", "loss"), ("valid_loss", "validation")):
        if progress.get(name) is not None:
            parts.append(f"{word} {progress[name]:.3f}")
    if progress.get("seconds_left") is not None:
        parts.append(f"about {_tell_seconds(progress['seconds_left'])} left")
    return ": " + ", ".join(parts)


def _tell_answers(progress: dict[str, Any]) -> str:
    if "evaluating" not in progress:  # what is there is still the training's
        return ""
    name, done, num_items = (progress[key] for key in ("evaluating", "answered", "num_items"))
    return f": {name} has answered {done} of {num_items}"


def _tell_seconds(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"
