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
    """Training rows after cleaning."""
    min_new_examples: int = 200
    """Rows that the last promoted run had not seen, for a run that quality asks for."""
    min_fresh_items: int = 300
    """Evaluation items dated after quality fell."""
    cooldown: timedelta = timedelta(days=7)


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What is known of an alias now."""

    now: datetime
    period: str | None
    is_period_done: bool
    has_active_run: bool
    num_up: int
    num_down: int
    """Ratings of the champion's answers inside the window, one per rater and inference."""
    fell_at: datetime | None
    """When quality was first found to have fallen under this champion."""
    num_examples: int
    num_new_examples: int
    num_fresh_items: int
    """Evaluation items dated after `fell_at`."""
    last_run_ended_at: datetime | None

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
    """What to do about an alias, why, and whether its quality has fallen."""

    action: Action
    reason: str
    trigger: Trigger | None = None
    has_fallen: bool = False


def look(policy: Policy, evidence: Evidence) -> Look:
    """Decide what to do about one alias: quality first, then the calendar."""
    has_fallen = _has_fallen(policy, evidence)
    if policy.is_paused:
        return Look(action=Action.NOTHING, reason="Learning is paused.", has_fallen=has_fallen)
    if evidence.has_active_run:
        return Look(action=Action.NOTHING, reason="A run is under way.", has_fallen=has_fallen)
    if has_fallen:
        return _after_a_fall(policy, evidence)
    if evidence.period is not None and not evidence.is_period_done:
        return _after_a_turn(policy, evidence)
    return Look(action=Action.NOTHING, reason=_calm(policy, evidence))


def _has_fallen(policy: Policy, evidence: Evidence) -> bool:
    if evidence.fell_at is not None:
        return True  # until a promotion: fewer complaints may only mean fewer users
    is_enough = evidence.num_ratings >= policy.min_ratings
    return is_enough and evidence.down_share > policy.max_down_share


def _after_a_fall(policy: Policy, evidence: Evidence) -> Look:
    fall = (
        f"Quality fell: {evidence.num_down} of {evidence.num_ratings} ratings are thumbs-down "
        f"({evidence.down_share:.0%}, threshold {policy.max_down_share:.0%})"
    )
    missing = [*_cooling(policy, evidence), *_missing_rows(policy, evidence)]
    if evidence.num_new_examples < policy.min_new_examples:
        missing.append(f"{policy.min_new_examples - evidence.num_new_examples} new examples")
    if evidence.num_fresh_items < policy.min_fresh_items:
        missing.append(
            f"an evaluation set with {policy.min_fresh_items - evidence.num_fresh_items} more "
            "items dated after the fall"
        )
    return _train_or_wait(Trigger.QUALITY, fall, missing)


def _after_a_turn(policy: Policy, evidence: Evidence) -> Look:
    turn = f"Period {evidence.period} has begun ({policy.schedule})"
    return _train_or_wait(Trigger.PERIOD, turn, _missing_rows(policy, evidence))


def _train_or_wait(trigger: Trigger, why: str, missing: list[str]) -> Look:
    has_fallen = trigger is Trigger.QUALITY
    if not missing:
        return Look(action=Action.TRAIN, trigger=trigger, reason=f"{why}.", has_fallen=has_fallen)
    waiting = f"{why}; waiting for {' and '.join(missing)}."
    return Look(action=Action.WAIT, trigger=trigger, reason=waiting, has_fallen=has_fallen)


def _missing_rows(policy: Policy, evidence: Evidence) -> list[str]:
    short = policy.min_examples - evidence.num_examples
    return [f"{short} more training rows (it has {evidence.num_examples})"] if short > 0 else []


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
    period = f"period {evidence.period} is done" if evidence.period else "no schedule"
    return f"Nothing to do: {ratings}; {period}."
