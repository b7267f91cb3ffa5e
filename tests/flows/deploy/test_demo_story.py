"""The demo's story: told here against a Strop that is played by this file, without engine or database."""

import asyncio
import io
import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import httpx
import pytest
from rich.console import Console

from deploy.demo.actors import Line, Reviewers, Users
from deploy.demo.company import BEFORE, LAUNCHED, RENAMED
from deploy.demo.house import MARKER, House, empty_home
from deploy.demo.record import Phase, Record, Tally, table_rows
from deploy.demo.scenario import alongside
from deploy.demo.stage import ALIAS, Stage
from deploy.demo.story import ACTS, unmet
from deploy.demo.view import LineView
from deploy.demo.world import World, evaluation_rows, new_evaluation_rows, training_rows
from serving.errors import ConfigurationError, StropError
from serving.settings import Settings, load_settings

ROOT = Path(__file__).parents[3]
PER_SECOND = 150
FELL = "Quality fell: 80 of 120 ratings are thumbs-down"


class PlayedStrop:
    """Answers as Strop does: a run begins once new rows came in, and its release knows better."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.champion = 1
        self.run: dict[str, Any] | None = None
        self.evaluations = 0
        self.reviews: list[dict[str, Any]] = []
        self.verdicts: list[dict[str, Any]] = []
        self.num_asked = 0
        self.client = httpx.AsyncClient(
            transport=httpx.MockTransport(self._answer), base_url="http://strop"
        )

    async def strop(self, *words: str) -> dict[str, Any]:
        """Take a command."""
        assert words[:2] == ("datasets", "import")
        if words[-1] == "eval":
            self.evaluations += 1
        if (words[-1], self.evaluations) in (("train", 1), ("eval", 2)):
            begun = {"id": self.evaluations, "reason": FELL, "dataset": 1, "progress": {"step": 9}}
            self.run = {**begun, "state": "queued", "ended_at": None}
        return {}

    async def get(self, path: str, **_: str) -> dict[str, Any]:
        """Answer an operator; every look at a run finds it a step further."""
        if path.startswith("/api/datasets/"):
            manifest = {"sources": {"import": 900}, "dropped": {"contradicted": 210}}
            return {"id": 1, "manifest": manifest}
        if path == "/api/runs":
            self._advance()
            return {"runs": [dict(self.run)] if self.run else []}
        alias = {"name": ALIAS, "learning": FELL, "champion": {"number": self.champion}}
        return {"aliases": [alias]}

    def check_alive(self) -> None:
        """It always is."""

    def _advance(self) -> None:
        states = ("queued", "training", "evaluating", "passed")
        if self.run is None or self.run["state"] == "passed":
            return
        self.run["state"] = states[states.index(self.run["state"]) + 1]
        if self.run["state"] == "passed":
            scores = {"champion_score": 0.6, "candidate_score": 0.95}
            self.run["verdict"] = {**scores, "reason": "better"}
            self.champion += 1

    def _answer(self, request: httpx.Request) -> httpx.Response:
        if request.url.path == "/v1/chat/completions":
            return self._complete(json.loads(request.content))
        if (request.method, request.url.path) == ("POST", "/api/reviews/next"):
            return httpx.Response(
                200, json={"review": self.reviews.pop() if self.reviews else None}
            )
        if request.url.path.startswith("/api/reviews/"):
            self.verdicts.append(json.loads(request.content))
        return httpx.Response(200, json={})

    def _complete(self, body: dict[str, Any]) -> httpx.Response:
        """Know nothing at first, then what was right before the change, then all of it."""
        self.num_asked += 1
        right = self.world.right_answer(body["messages"][-1]["content"])
        is_news = right not in BEFORE.labels
        said = right if self.champion == 3 or (self.champion == 2 and not is_news) else "what?"
        self.reviews.append(
            {"inference_id": f"inf-{self.num_asked}", "prompt": body["messages"], "answer": said}
        )
        return httpx.Response(
            200,
            headers={"x-strop-release": str(self.champion)},
            json={"id": f"inf-{self.num_asked}", "choices": [{"message": {"content": said}}]},
        )


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stage:
    """A stage on a played Strop, with people who are in a hurry."""
    for pace in ("BUSY", "QUIET"):
        monkeypatch.setattr(f"deploy.demo.story.{pace}", PER_SECOND)
    monkeypatch.setattr("deploy.demo.stage._POLL_SECONDS", 0.1)
    world = World()
    strop = PlayedStrop(world)
    house = cast(House, strop)
    strop.settings = Settings(home=tmp_path)  # type: ignore[attr-defined] # what acts read of it
    made = Stage(house, world)
    line = Line(strop.client, "key", made.record.failures)
    users = Users(line, ALIAS, world, made.record, made.clock, per_second=PER_SECOND)
    made.people = [users, Reviewers(line, ALIAS, world)]
    return made


async def soon(is_so: Callable[[], bool]) -> None:
    """Return once it is so."""
    for _ in range(3_000):
        if is_so():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("It did not come about.")


async def test_the_story_is_told_to_its_end(stage: Stage) -> None:
    """Act after act happens, every promise is kept, and the events tell it in order."""

    async def tell() -> None:
        for act in ACTS:
            await act.play(stage)

    output = io.StringIO()
    view = LineView(Console(file=output))
    people = [one.run() for one in stage.people]
    await asyncio.wait_for(alongside(tell(), stage.watch(), view.watch(stage), *people), 250)
    assert unmet(stage.record) == []
    marks = [event.mark for event in stage.record.events if event.mark]
    assert marks == ["base", "train", "v1", "change", "fell", "train", "v2"]
    assert "210 contradicted" in output.getvalue()
    assert {row["phase"] for row in table_rows(stage.record) if row["num_ratings"]} == set(Phase)


async def test_a_run_that_fails_ends_the_story(stage: Stage) -> None:
    """Nobody waits for a release that cannot come; the reason is Strop's own."""
    stage.run = {"id": 7, "state": "rejected", "verdict": {"reason": "not better"}}
    with pytest.raises(StropError, match="Run 7 rejected: not better"):
        await stage.until(lambda: False, "release 2 answers")


async def test_a_player_who_falls_ends_the_story() -> None:
    """A fault of a user or of the view does not go unseen."""

    async def fall() -> None:
        raise StropError("fallen")

    async def tell() -> None:
        await asyncio.Event().wait()

    with pytest.raises(StropError, match="fallen"):
        await alongside(tell(), fall())


async def test_a_reviewer_corrects_by_todays_queues(stage: Stage) -> None:
    """What was right before the change is corrected after it; what nobody here asked is left."""
    strop = cast(PlayedStrop, stage.house)
    text = stage.world.next_request()
    old = stage.world.right_answer(text)
    while old not in {BEFORE.queues[topic] for topic in RENAMED}:
        text = stage.world.next_request()
        old = stage.world.right_answer(text)
    stage.world.change()
    prompt = [{"role": "user", "content": text}]
    strop.reviews = [{"inference_id": "inf-1", "prompt": prompt, "answer": old}]
    unknown = [{"role": "user", "content": "typed by somebody else"}]
    strop.reviews.insert(0, {"inference_id": "inf-2", "prompt": unknown, "answer": "x"})
    reviewing = asyncio.create_task(stage.reviewers.run())
    await soon(lambda: not strop.reviews)
    reviewing.cancel()
    new = RENAMED[next(topic for topic, queue in BEFORE.queues.items() if queue == old)]
    assert strop.verdicts == [{"verdict": "incorrect", "corrected": new}]


async def test_a_request_that_fails_is_written_down(stage: Stage) -> None:
    """The demo promises that every request is answered, so one that is not breaks it."""
    users = cast(Users, stage.people[0])
    away = httpx.MockTransport(lambda _: httpx.Response(503, text="away"))
    client = httpx.AsyncClient(transport=away, base_url="http://strop")
    users.line = Line(client, "key", stage.record.failures)
    using = asyncio.create_task(users.run())
    await soon(lambda: bool(stage.record.failures))
    using.cancel()
    assert stage.record.failures[0] == "/v1/chat/completions: 503 away"
    assert any("every request" in promise for promise in unmet(stage.record))


def test_nothing_measured_is_nothing_kept() -> None:
    """An empty record keeps no promise but that nothing failed."""
    assert len(unmet(Record())) == 6


def test_v2_has_to_be_twenty_points_better() -> None:
    """A gain below 20 points is no demonstration."""
    record = Record(num_contradicted=1)
    record.phases = {
        Phase.BASE: Tally(num_down=100),
        Phase.V1_BEFORE: Tally(num_up=100),
        Phase.V1_AFTER: Tally(num_up=60, num_down=40),
        Phase.V2: Tally(num_up=100),
    }
    record.scores = {Phase.V1_AFTER: 0.70, Phase.V2: 0.95}
    assert unmet(record) == []
    record.scores[Phase.V1_AFTER] = 0.76
    assert unmet(record) == ["v2 is 20% better than v1 after the change"]


def test_imported_rows_leave_the_system_prompt_to_the_alias() -> None:
    """Rows are question and answer; the new evaluation rows say when they were labelled."""
    at = datetime(2026, 11, 22, tzinfo=UTC)
    rows = [*training_rows(50), *evaluation_rows(50), *new_evaluation_rows(50, at)]
    assert {tuple(turn["role"] for turn in row["messages"]) for row in rows} == {
        ("user", "assistant")
    }
    assert {row.get("at") for row in rows} == {None, at.isoformat()}


def test_the_company_changes_under_traffic() -> None:
    """From the change on, requests about the new product come, and old ones have today's queue."""
    world = World()
    world.change()
    answers = {world.right_answer(world.next_request()) for _ in range(300)}
    assert {*RENAMED.values(), *LAUNCHED.values()} <= answers
    assert not answers & {BEFORE.queues[topic] for topic in RENAMED}


def test_only_a_demos_home_is_thrown_away(tmp_path: Path) -> None:
    """A home that no demo made is refused and left as it is; a demo's own begins anew."""
    settings = Settings(home=tmp_path / "home")
    settings.home.mkdir()
    (settings.home / "precious").write_text("kept")
    with pytest.raises(ConfigurationError, match="no demo's"):
        empty_home(settings)
    assert (settings.home / "precious").read_text() == "kept"
    (settings.home / MARKER).touch()
    empty_home(settings)
    assert [path.name for path in settings.home.iterdir()] == [MARKER]


def test_only_durations_differ_from_production(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every threshold of the demo is the default; what differs under [learning] is a duration."""
    monkeypatch.chdir(ROOT)
    demo, default = load_settings(ROOT / "deploy/demo/demo.toml"), Settings()
    changed = {
        name
        for name, value in demo.learning.model_dump().items()
        if value != getattr(default.learning, name)
    }
    assert changed == {"check_seconds", "window_hours", "cooldown_days"}
    for section in ("worker", "journal", "store", "train", "pools"):
        assert getattr(demo, section) == getattr(default, section)
