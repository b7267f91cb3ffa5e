"""Train now, wait, or nothing to do? Pure: evidence in, a decision with its reason out."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from serving.store.learning import Action, Trigger


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """When an alias is retrained."""

    schedule: str = "quarterly"
    zone: str = "UTC"
    is_paused: bool = False
    max_down_share: float = 0.25
    """Thumbs-down among the ratings of the window above which quality counts as fallen."""
    min_ratings: int = 100
    min_examples: int = 1000
    """Training rows after cleaning and splitting."""
    min_new_examples: int = 200
    """Rows that the last judged run had not seen, for a run that quality asks for."""
    min_fresh_items: int = 300
    """Evaluation items dated after quality fell."""
    cooldown: timedelta = timedelta(days=7)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stock:
    """What there is to train on. Takes seconds to find out, so it is asked for only when due."""

    num_examples: int
    """Rows that would train, after cleaning and splitting."""
    num_new_examples: int
    num_fresh_items: int
    """Items dated after the fall, of the evaluation set that would carry the gate."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What is known of an alias now."""

    now: datetime
    period: str | None
    period_done: str
    """Why this period needs no run, in words; empty: it needs one."""
    has_active_run: bool
    num_up: int
    num_down: int
    """Ratings of the champion's answers inside the window, one per rater and inference."""
    fell_at: datetime | None
    """When quality was first found to have fallen under this champion."""
    last_run_ended_at: datetime | None
    stock: Stock | None = None
    """None where nothing is due."""

    @property
    def num_ratings(self) -> int:
        """Thumbs, up and down."""
        return self.num_up + self.num_down

    @property
    def down_share(self) -> float:
        """Thumbs-down among thumbs; 0 without any."""
        return self.num_down / self.num_ratings if self.num_ratings else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What to do about an alias, and why."""

    action: Action
    reason: str
    trigger: Trigger | None = None


def is_due(policy: Policy, evidence: Evidence) -> bool:
    """Whether a run ought to begin, if there is enough to train on."""
    if policy.is_paused or evidence.has_active_run:
        return False
    return has_fallen(policy, evidence) or _has_turned(evidence)


def has_fallen(policy: Policy, evidence: Evidence) -> bool:
    """Whether quality fell: over the threshold now, or at any time under this champion."""
    if evidence.fell_at is not None:
        return True  # until a promotion: fewer complaints may only mean fewer users
    is_enough = evidence.num_ratings >= policy.min_ratings
    return is_enough and evidence.down_share > policy.max_down_share


def look(policy: Policy, evidence: Evidence) -> Look:
    """Decide what to do about one alias: quality first, then the calendar.

    Args:
        evidence: with its stock, if `is_due`.
    """
    if policy.is_paused:
        return Look(action=Action.NOTHING, reason="Learning is paused.")
    if evidence.has_active_run:
        return Look(action=Action.NOTHING, reason="A run is under way.")
    found = []
    if has_fallen(policy, evidence):
        found.append(_after_a_fall(policy, evidence))
    if _has_turned(evidence):
        found.append(_after_a_turn(policy, evidence))
    found.append(Look(action=Action.NOTHING, reason=_calm(policy, evidence)))
    # A fall that waits for labels does not keep the calendar from its run.
    return next((one for one in found if one.action is Action.TRAIN), found[0])


def _has_turned(evidence: Evidence) -> bool:
    return evidence.period is not None and not evidence.period_done


def _after_a_fall(policy: Policy, evidence: Evidence) -> Look:
    since = f" on {evidence.fell_at:%Y-%m-%d %H:%M} UTC; now" if evidence.fell_at else ":"
    fall = (
        f"Quality fell{since} {evidence.num_down} of {evidence.num_ratings} ratings are "
        f"thumbs-down ({evidence.down_share:.0%}, threshold {policy.max_down_share:.0%})"
    )
    stock = _stock(evidence)
    missing = [*_cooling(policy, evidence), *_missing_rows(policy, stock)]
    if stock.num_new_examples < policy.min_new_examples:
        missing.append(f"{policy.min_new_examples - stock.num_new_examples} new examples")
    if stock.num_fresh_items < policy.min_fresh_items:
        missing.append(
            f"an evaluation set with {policy.min_fresh_items - stock.num_fresh_items} more "
            "items dated after the fall"
        )
    return _train_or_wait(Trigger.QUALITY, fall, missing)


def _after_a_turn(policy: Policy, evidence: Evidence) -> Look:
    turn = f"Period {evidence.period} has begun ({policy.schedule})"
    return _train_or_wait(Trigger.PERIOD, turn, _missing_rows(policy, _stock(evidence)))


def _train_or_wait(trigger: Trigger, why: str, missing: list[str]) -> Look:
    if not missing:
        return Look(action=Action.TRAIN, trigger=trigger, reason=f"{why}.")
    waiting = f"{why}; waiting for {' and '.join(missing)}."
    return Look(action=Action.WAIT, trigger=trigger, reason=waiting)


def _missing_rows(policy: Policy, stock: Stock) -> list[str]:
    short = policy.min_examples - stock.num_examples
    return [f"{short} more training rows (it has {stock.num_examples})"] if short > 0 else []


def _cooling(policy: Policy, evidence: Evidence) -> list[str]:
    if evidence.last_run_ended_at is None:
        return []
    free_at = evidence.last_run_ended_at + policy.cooldown
    return [f"the cooldown until {free_at:%Y-%m-%d %H:%M} UTC"] if free_at > evidence.now else []


def _calm(policy: Policy, evidence: Evidence) -> str:
    if evidence.num_ratings < policy.min_ratings:
        ratings = f"{evidence.num_ratings} ratings, {policy.min_ratings} are needed for a judgement"
    else:
        ratings = f"{evidence.down_share:.0%} of {evidence.num_ratings} ratings are thumbs-down"
    if evidence.period is None:
        return f"Nothing to do: {ratings}; no schedule."
    return f"Nothing to do: {ratings}; period {evidence.period} is done: {evidence.period_done}."


def _stock(evidence: Evidence) -> Stock:
    assert evidence.stock is not None, "a look that is due comes with its stock"
    return evidence.stock
