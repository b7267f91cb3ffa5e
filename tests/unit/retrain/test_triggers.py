"""Train, wait or nothing: every rule and every reason."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from retrain.triggers import Evidence, Policy, Stock, is_due, look
from serving.store.learning import Action, Trigger

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
ENOUGH = Stock(num_examples=1200, num_new_examples=400, num_fresh_items=500)
CALM = Evidence(
    now=NOW,
    period="2026Q4",
    period_done="run 1 passed",
    has_active_run=False,
    num_up=90,
    num_down=10,
    fell_at=None,
    last_run_ended_at=None,
)
FALLEN = replace(CALM, num_up=60, num_down=40, fell_at=NOW, stock=ENOUGH)
TURNED = replace(CALM, period_done="", stock=ENOUGH)


def test_nothing_is_done_without_a_cause() -> None:
    """And the reason says what was looked at."""
    found = look(Policy(), CALM)
    assert found.action is Action.NOTHING
    assert found.reason == (
        "Nothing to do: 10% of 100 ratings are thumbs-down; period 2026Q4 is done: run 1 passed."
    )
    assert not is_due(Policy(), CALM)


def test_a_fall_of_quality_trains() -> None:
    """Over the threshold, with enough ratings, rows and fresh items."""
    found = look(Policy(), FALLEN)
    assert (found.action, found.trigger) == (Action.TRAIN, Trigger.QUALITY)
    assert "40 of 100 ratings are thumbs-down (40%, threshold 25%)" in found.reason


@pytest.mark.parametrize(("num_up", "num_down"), [(0, 99), (75, 25)])
def test_few_ratings_and_the_threshold_itself_are_no_fall(num_up: int, num_down: int) -> None:
    """99 of 99 are too few to judge; 25 % is not over 25 %."""
    evidence = replace(CALM, num_up=num_up, num_down=num_down)
    assert not is_due(Policy(), evidence)
    assert look(Policy(), evidence).action is Action.NOTHING


def test_a_fall_lasts_until_a_promotion() -> None:
    """Users who have gone away do not complain."""
    evidence = replace(FALLEN, num_up=0, num_down=0)
    assert look(Policy(), evidence).trigger is Trigger.QUALITY


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"last_run_ended_at": NOW - timedelta(days=6)}, "the cooldown until 2026-11-23 12:00"),
        ({"stock": replace(ENOUGH, num_examples=900)}, "100 more training rows (it has 900)"),
        ({"stock": replace(ENOUGH, num_new_examples=150)}, "50 new examples"),
        ({"stock": replace(ENOUGH, num_fresh_items=0)}, "300 more items dated after the fall"),
    ],
)
def test_a_fall_waits_and_says_for_what(changes: dict[str, Any], reason: str) -> None:
    """Each of what may be missing."""
    found = look(Policy(), replace(FALLEN, **changes))
    assert (found.action, found.trigger) == (Action.WAIT, Trigger.QUALITY)
    assert reason in found.reason


def test_a_turned_period_trains() -> None:
    """If there are rows; else it waits for them."""
    assert look(Policy(), TURNED).trigger is Trigger.PERIOD
    short = replace(TURNED, stock=replace(ENOUGH, num_examples=999))
    assert look(Policy(), short).action is Action.WAIT


def test_quality_comes_first_and_does_not_hold_up_the_calendar() -> None:
    """Both due: quality's run. Quality waiting for labels: the period's run."""
    both = replace(FALLEN, period_done="")
    assert look(Policy(), both).trigger is Trigger.QUALITY
    waiting = replace(both, stock=replace(ENOUGH, num_fresh_items=0))
    found = look(Policy(), waiting)
    assert (found.action, found.trigger) == (Action.TRAIN, Trigger.PERIOD)


@pytest.mark.parametrize("evidence", [FALLEN, TURNED])
def test_a_pause_and_a_run_under_way_stop_all(evidence: Evidence) -> None:
    """One run at a time; none while learning is paused; and no stock is taken for it."""
    assert look(Policy(is_paused=True), evidence).reason == "Learning is paused."
    assert not is_due(Policy(is_paused=True), evidence)
    busy = replace(evidence, has_active_run=True)
    assert look(Policy(), busy).reason == "A run is under way."
    assert not is_due(Policy(), busy)
