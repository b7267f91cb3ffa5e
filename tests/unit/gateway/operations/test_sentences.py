"""The sentence on learning: what is happening to an alias, and why nothing is."""

from typing import Any

import pytest

from gateway.operations.runs import scores_of
from gateway.operations.sentences import tell_learning, tell_size
from serving.store.learning import Action, Decision, Run, RunState, Trigger
from serving.store.tables import Alias, utc_now
from serving.types import Task


def make_run(state: RunState, **fields: Any) -> Run:
    """Return run 5."""
    return Run(
        id=5, alias_id=1, trigger=Trigger.MANUAL, reason="r", actor="a", state=state, **fields
    )


def make_alias(**fields: Any) -> Alias:
    """Return the alias `triage`."""
    return Alias(tenant="default", name="triage", task=Task.CLASSIFY, **fields)


DECISION = Decision(
    alias_id=1,
    action=Action.NOTHING,
    reason="Nothing to do: calm at first.",
    evidence={},
    last_reason="Nothing to do: calm.",
    last_evidence={},
    last_at=utc_now(),
)


@pytest.mark.parametrize(
    ("run", "said"),
    [
        (make_run(RunState.QUEUED), "Run 5 waits for the worker, which `strop up` runs."),
        (make_run(RunState.QUEUED, error="its turn."), "Run 5 is queued. Waiting: its turn."),
        (make_run(RunState.TRAINING), "Run 5 trains."),
        (
            make_run(RunState.TRAINING, progress={"message": "loading the base"}),
            "Run 5 trains: loading the base.",
        ),
        (
            make_run(
                RunState.TRAINING,
                progress={"step": 3, "total_steps": 300, "loss": 0.5, "seconds_left": 240},
            ),
            "Run 5 trains: step 3 of 300, loss 0.500, about 4 min left.",
        ),
        (make_run(RunState.TRAINING, is_cancelled=True), "Run 5 is being cancelled."),
        (make_run(RunState.PASSED, is_cancelled=True), "Run 5 is being cancelled."),
        (make_run(RunState.EVALUATING, progress={"step": 9}), "Run 5 is being evaluated."),
        (
            make_run(
                RunState.EVALUATING,
                progress={"evaluating": "candidate", "answered": 120, "num_items": 500},
            ),
            "Run 5 is being evaluated: candidate has answered 120 of 500.",
        ),
        (
            make_run(RunState.EVALUATING, error="No engine."),
            "Run 5 is being evaluated. Waiting: No engine.",
        ),
        (make_run(RunState.PASSED), "Run 5 passed and is being promoted."),
    ],
)
def test_a_run_under_way_is_what_is_happening(run: Run, said: str) -> None:
    """How far it is comes before any decision."""
    assert tell_learning(make_alias(), run, DECISION) == said


@pytest.mark.parametrize(
    ("run", "said"),
    [
        (None, ""),
        (make_run(RunState.REJECTED, verdict={"reason": "Worse."}), " Run 5 rejected. Worse."),
        (make_run(RunState.FAILED, error="No rows."), " Run 5 failed: No rows."),
        (
            make_run(RunState.PASSED, verdict={"reason": "Better."}, error="No engine."),
            " Run 5 passed. Better. Not promoted: No engine.",
        ),
        (make_run(RunState.CANCELLED), " Run 5 was cancelled."),
    ],
)
def test_without_one_the_newest_decision_says_why(run: Run | None, said: str) -> None:
    """And how the last run ended."""
    if run is not None:
        run.ended_at = utc_now()
    assert tell_learning(make_alias(), run, DECISION) == f"Nothing to do: calm.{said}"


def test_a_pause_and_a_first_day_are_told() -> None:
    """Paused aliases, and those that no worker has looked at, say so."""
    paused = tell_learning(make_alias(is_paused=True), None, DECISION)
    assert "strop aliases resume triage" in paused
    assert "No worker" in tell_learning(make_alias(), None, None)


def test_how_much_of_its_base_a_run_trains_is_told() -> None:
    """In numbers and as a share, once the trainer has counted."""
    told = tell_size({"num_trainable": 43_646_976, "num_parameters": 8_190_735_360})
    assert told == "43,646,976 parameters, 0.53% of the base's 8,190,735,360"
    assert tell_size({"message": "loading the base"}) is None


def test_a_run_shows_all_scores_that_it_was_judged_by() -> None:
    """Base and champion too, which an earlier run may have asked; none before there is a verdict."""
    champion, candidate = {"release": 2, "score": 0.5}, {"release": 3, "score": 0.9}
    verdict = {
        "evaluation_set": 4,
        "evaluations": {"champion": champion, "candidate": candidate},
    }
    assert scores_of(make_run(RunState.PASSED, verdict=verdict)) == [
        {"contestant": "champion", "evaluation_set": 4, **champion},
        {"contestant": "candidate", "evaluation_set": 4, **candidate},
    ]
    assert scores_of(make_run(RunState.EVALUATING)) == []
