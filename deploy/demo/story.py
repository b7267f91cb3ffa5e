"""The story, act by act; each act does one thing and waits until Strop has answered to it.

Strop is left to itself: nothing here starts a run or promotes a release. The worker does, because
users and reviewers said what they said.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from deploy.demo.record import Phase, Record, percent
from deploy.demo.stage import ALIAS, BUSY, QUIET, Stage
from deploy.demo.world import evaluation_rows, new_evaluation_rows, training_rows
from serving.store.learning import RunState

NUM_TRAINING_ROWS = 1_500
NUM_EVALUATION_ROWS = 500
NUM_RATINGS, NUM_CONTENT_RATINGS = 120, 200
"""After which an act believes what it sees; good times are shown for longer."""
NUM_REVIEWS = 400
"""Answers reviewed after the change, before the new labels come in."""
MIN_GAIN = 0.20
MAX_DOWN_SHARE = 0.25
"""Strop's own threshold: `learning.max_down_share`."""
_STATES = (RunState.QUEUED, RunState.TRAINING, RunState.EVALUATING, RunState.PASSED)


@dataclass(frozen=True, slots=True)
class Act:
    """A part of the story."""

    title: str
    play: Callable[[Stage], Awaitable[None]]


async def begin_with_the_base(stage: Stage) -> None:
    """Users meet a model that has never heard of their company."""
    stage.note(f"{ALIAS} serves release 1: the bare base model", "base")
    await _ratings(stage, Phase.BASE)
    await stage.until(lambda: _is_waiting(stage), "the worker finds that quality fell")
    stage.note(f"strop status: {stage.says}")


async def teach_what_is_known(stage: Stage) -> None:
    """The company imports what its people have sorted by hand; the trigger does the rest."""
    await stage.import_rows(evaluation_rows(NUM_EVALUATION_ROWS), "evaluation", "eval")
    await stage.import_rows(training_rows(NUM_TRAINING_ROWS), "training", "train")
    await _learn(stage, 2, Phase.BASE, Phase.V1_BEFORE)
    stage.note("release 2 (v1) is swapped in under traffic", "v1")


async def enjoy(stage: Stage) -> None:
    """Users are content, and tell others."""
    stage.users.per_second = BUSY
    await _ratings(stage, Phase.V1_BEFORE, NUM_CONTENT_RATINGS)


async def change_the_company(stage: Stage) -> None:
    """Two queues get new names, a product is launched; v1 cannot know."""
    stage.world.change()
    stage.record.is_changed = True
    stage.note("the company renames two queues and launches a product", "change")
    await _ratings(stage, Phase.V1_AFTER)
    await stage.until(lambda: _is_waiting(stage), "the worker finds that quality fell")
    stage.note(f"strop status: {stage.says}", "fell")


async def correct(stage: Stage) -> None:
    """Reviewers correct what is wrong; 500 new labels say what is right today."""
    reviewers = stage.reviewers
    before = reviewers.num_reviewed
    await stage.until(
        lambda: reviewers.num_reviewed >= before + NUM_REVIEWS,
        f"{NUM_REVIEWS} answers are reviewed after the change",
    )
    stage.note(
        f"reviewers have judged {reviewers.num_reviewed} sampled answers, "
        f"and corrected {reviewers.num_corrected}"
    )
    rows = new_evaluation_rows(NUM_EVALUATION_ROWS, datetime.now(UTC))
    await stage.import_rows(rows, "evaluation-after-the-change", "eval")


async def learn_again(stage: Stage) -> None:
    """The trigger has what it waited for; it is evening, and fewer people ask."""
    stage.users.per_second = QUIET
    await _learn(stage, 3, Phase.V1_AFTER, Phase.V2)
    stage.note("release 3 (v2) is swapped in under traffic", "v2")


async def recover(stage: Stage) -> None:
    """Users are content again."""
    stage.users.per_second = BUSY
    await _ratings(stage, Phase.V2, NUM_CONTENT_RATINGS)


ACTS = (
    Act("The base model answers", begin_with_the_base),
    Act("The company imports what it knows", teach_what_is_known),
    Act("v1 answers", enjoy),
    Act("The company changes", change_the_company),
    Act("People correct", correct),
    Act("Strop learns again", learn_again),
    Act("v2 answers", recover),
)


def unmet(record: Record) -> list[str]:
    """Return what the story promised and did not keep; empty: all of it happened."""
    down = {phase: record.tally(phase).down_share for phase in Phase}
    gain = record.scores.get(Phase.V2, 0.0) - record.scores.get(Phase.V1_AFTER, 0.0)
    promises = {
        "users are not content with the base": _is_high(down[Phase.BASE]),
        "users are content with v1": _is_low(down[Phase.V1_BEFORE]),
        "users are not content with v1 after the change": _is_high(down[Phase.V1_AFTER]),
        "users are content with v2": _is_low(down[Phase.V2]),
        f"v2 is {MIN_GAIN:.0%} better than v1 after the change": gain >= MIN_GAIN,
        "rows that reviews contradict are dropped": record.num_contradicted > 0,
        f"every request is answered ({_first(record.failures)})": not record.failures,
    }
    return [promise for promise, is_kept in promises.items() if not is_kept]


async def _ratings(stage: Stage, phase: Phase, count: int = NUM_RATINGS) -> None:
    await stage.until(
        lambda: stage.record.tally(phase).num_ratings >= count,
        f"users rated {count} answers of {phase}",
    )
    stage.note(f"{percent(stage.record.tally(phase).down_share)} thumbs-down for {phase}")


async def _learn(stage: Stage, number: int, champion: Phase, candidate: Phase) -> None:
    """Follow a run that Strop begins by itself, until its release answers."""
    await stage.until(lambda: _run_id(stage) > stage.last_run, "the trigger starts a run")
    assert stage.run is not None
    stage.note(f"the trigger fires: {stage.run['reason']}", "train")
    await stage.until(lambda: _has_reached(stage, RunState.TRAINING), "the dataset is built")
    await _note_dataset(stage)
    await stage.until(lambda: _has_reached(stage, RunState.EVALUATING), "the adapter is trained")
    num_steps = stage.run["progress"]["step"]
    stage.record.num_steps += num_steps
    stage.note(f"trained in {num_steps} steps; base, champion and candidate are examined")
    await stage.until(lambda: _has_reached(stage, RunState.PASSED), "the gate has judged")
    stage.last_run, verdict = stage.run["id"], stage.run["verdict"]
    stage.record.scores[champion] = verdict["champion_score"]
    stage.record.scores[candidate] = verdict["candidate_score"]
    stage.note(f"the gate: {verdict['reason']}")
    await stage.until(lambda: stage.champion == number, f"release {number} answers")


async def _note_dataset(stage: Stage) -> None:
    """Say what the run learns from, and what was left out of it."""
    assert stage.run is not None
    dataset = await stage.house.get(f"/api/datasets/{stage.run['dataset']}")
    sources, dropped = dataset["manifest"]["sources"], dataset["manifest"]["dropped"]
    stage.record.num_contradicted = dropped.get("contradicted", 0)
    stage.note(f"dataset {dataset['id']}: {_counts(sources)}; dropped: {_counts(dropped)}")


def _is_waiting(stage: Stage) -> bool:
    return "Quality fell" in stage.says


def _run_id(stage: Stage) -> int:
    return stage.run["id"] if stage.run else 0


def _has_reached(stage: Stage, state: RunState) -> bool:
    """Whether the run is there, or further; one that failed ends the wait by itself."""
    return (
        stage.run is not None
        and stage.run["state"] in _STATES
        and _STATES.index(stage.run["state"]) >= _STATES.index(state)
    )


def _counts(counted: dict[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counted.items() if count) or "none"


def _is_high(share: float | None) -> bool:
    return share is not None and share > MAX_DOWN_SHARE


def _is_low(share: float | None) -> bool:
    return share is not None and share <= MAX_DOWN_SHARE


def _first(failures: list[str]) -> str:
    return f"{len(failures)} were not; first: {failures[0]}" if failures else "all were"
