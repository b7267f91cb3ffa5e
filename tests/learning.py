"""A workshop in memory: real database and files; the trainer and the engine are twins that obey."""

import json
import shutil
from collections.abc import Awaitable, Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
from sqlmodel import col, select

from retrain.executor import TrainingState, TrainingStatus
from retrain.importing import Imported, import_file
from retrain.learn import advance_runs
from retrain.memory import MemoryExecutor
from retrain.shop import Shop
from retrain.spec import Progress, read_spec
from serving.fleet.memory import MemoryEngine
from serving.settings import Settings
from serving.store.aliases import id_of
from serving.store.database import Database
from serving.store.learning import Decision, Run, RunState, Split, Trigger
from serving.store.partitions import ensure_partitions
from serving.store.runs import create_run, get_run
from serving.store.tables import Alias, Feedback, Inference, Release, utc_now
from serving.types import Rating
from tests.adapters import make_adapter
from tests.journal import make_begin

LABELS = ("billing", "returns", "delivery")
FIRST_HELD_OUT = 10_000

Answer = httpx.Response | Awaitable[httpx.Response]


def label_of(number: int) -> str:
    """Return the right answer to ticket `number`."""
    return LABELS[number % len(LABELS)]


def tickets(first: int, count: int, **extra: Any) -> list[dict[str, Any]]:
    """Return rows as a curated file has them."""
    return [
        {"instruction": "Sort.", "input": f"ticket {number}", "output": label_of(number), **extra}
        for number in range(first, first + count)
    ]


class World:
    """An alias and everything that learns for it.

    Attributes:
        skills: adapter name or `base` -> share of tickets that it sorts rightly.
        next_skill: of an adapter that `skills` does not know.
        answer: instead of the table: what the engine replies to a request's body.
    """

    def __init__(self, database: Database, settings: Settings, base: Path, alias: Alias) -> None:
        self.database, self.settings, self.alias = database, settings, alias
        self.engine = MemoryEngine("http://engine")
        self.executor = MemoryExecutor()
        self.skills = {"base": 0.2}
        self.next_skill = 0.9
        self.num_asked = 0
        self.answer: Callable[[dict[str, Any]], Answer] = self._answer_from_table
        client = httpx.AsyncClient(transport=httpx.MockTransport(self._reply))
        self.shop = Shop(
            database=database,
            settings=settings,
            engines={"default": (self.engine,)},
            client=client,
            executor=self.executor,
        )
        self._base = base

    def _reply(self, request: httpx.Request) -> Any:
        if self.engine.is_down:
            raise httpx.ConnectError("connection refused")
        self.num_asked += 1
        return self.answer(json.loads(request.content))

    def _answer_from_table(self, body: dict[str, Any]) -> httpx.Response:
        number = int(body["messages"][-1]["content"].rsplit(maxsplit=1)[-1])
        is_right = number % 100 < 100 * self.skills.get(body["model"], self.next_skill)
        content = label_of(number) if is_right else "no idea"
        return httpx.Response(200, json={"choices": [{"message": {"content": content}}]})

    async def import_rows(
        self, rows: list[dict[str, Any]], split: Split, **options: Any
    ) -> Imported:
        """Import rows as a file."""
        path = self.settings.home / "rows.jsonl"
        path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
        async with self.database.session() as session:
            alias = await session.get_one(Alias, self.alias.id)
            return await import_file(
                session, self.settings, alias, path, split, actor="console", **options
            )

    async def import_all(self) -> None:
        """Import enough to train and to judge."""
        await self.import_rows(tickets(0, 200), Split.TRAIN)
        await self.import_rows(tickets(FIRST_HELD_OUT, 500), Split.EVAL)

    async def queue(self, trigger: Trigger = Trigger.MANUAL, **fields: Any) -> Run:
        """Queue a run."""
        async with self.database.session() as session:
            run = await create_run(
                session,
                id_of(self.alias),
                trigger=trigger,
                reason="a test",
                actor="console",
                **fields,
            )
        assert run is not None
        return run

    async def run(self, run_id: int | None) -> Run:
        """Return a run as it is now."""
        assert run_id is not None
        async with self.database.session() as session:
            return await get_run(session, run_id)

    async def advance_to(self, run: Run, *states: RunState) -> Run:
        """Advance until the run is in one of these states; one that passed is promoted too."""
        return await self.advance_until(
            run,
            lambda found: (
                found.state in states
                and (found.ended_at is not None or found.state is not RunState.PASSED)
            ),
        )

    async def advance_until(self, run: Run, is_there: Callable[[Run], bool]) -> Run:
        """Advance until the run is as wanted; trainings come to a good end."""
        for _ in range(50):
            found = await self.run(run.id)
            if is_there(found):
                return found
            if found.state is RunState.TRAINING:
                self.finish_training(found)
            await advance_runs(self.shop)
        raise AssertionError(f"run {run.id} is still {found.state}: {found.error}")

    def finish_training(self, run: Run) -> None:
        """Let a running trainer end well: its adapter is there."""
        assert run.handle is not None
        folder = Path(read_spec(Path(run.handle)).adapter_dir)
        if not folder.exists():
            make_adapter(folder, self._base, seed=run.id or 0)
        self.end_training(run, TrainingState.DONE)

    def end_training(
        self, run: Run, state: TrainingState, words: str = "", *, step: int = 9
    ) -> None:
        """Let a trainer end."""
        assert run.handle is not None
        status = TrainingStatus(state, Progress(step=step, total_steps=9), words)
        self.executor.trainings[run.handle] = status

    def forget_training(self, run: Run) -> None:
        """Let the folder of a run vanish."""
        shutil.rmtree(self.settings.run_dir / str(run.id))

    async def releases(self) -> list[Release]:
        """Return the alias's releases, oldest first."""
        async with self.database.session() as session:
            query = select(Release).where(Release.alias_id == self.alias.id)
            return list(await session.exec(query.order_by(col(Release.number))))

    async def champion(self) -> int:
        """Return the number of the release that serves."""
        async with self.database.session() as session:
            alias = await session.get_one(Alias, self.alias.id)
            return (await session.get_one(Release, alias.champion_id)).number

    async def decisions(self) -> list[Decision]:
        """Return what was decided, oldest first."""
        async with self.database.session() as session:
            return list(await session.exec(select(Decision).order_by(col(Decision.id))))

    async def runs(self) -> list[Run]:
        """Return all runs, oldest first."""
        async with self.database.session() as session:
            return list(await session.exec(select(Run).order_by(col(Run.id))))

    async def rate(self, num_up: int, num_down: int) -> None:
        """Let the champion answer, and users rate each answer."""
        ratings = [Rating.UP] * num_up + [Rating.DOWN] * num_down
        inferences = [await self.infer() for _ in ratings]
        async with self.database.session() as session:
            for at, (inference, rating) in enumerate(zip(inferences, ratings, strict=True)):
                session.add(
                    Feedback(
                        id=f"{inference.id[-30:]}",
                        given_at=utc_now(),
                        inference_id=inference.id,
                        tenant="acme",
                        rater=f"user {at}",
                        rating=rating,
                    )
                )

    async def infer(self, **fields: Any) -> Inference:
        """Record a chat that the champion answered."""
        begin = make_begin()
        now: datetime = fields.pop("begun_at", utc_now())
        await ensure_partitions(self.database, [now.date()])
        async with self.database.session() as session:
            alias = await session.get_one(Alias, self.alias.id)
            values = {
                "tenant": "acme",
                "key_id": "key",
                "endpoint": "/v1/chat/completions",
                "model": "support",
                "pool": "default",
                "arm": "champion",
                "propensity": 1.0,
                "is_streamed": False,
                "is_trainable": True,
                "status": "ok",
                "worker_id": "w",
                "request": chat("ticket 1"),
                "response": answer("billing"),
                "alias_id": alias.id,
                "release_id": alias.champion_id,
            }
            inference = Inference(id=begin.id, begun_at=now, **(values | fields))
            session.add(inference)
        return inference


def chat(*turns: Any, **fields: Any) -> dict[str, Any]:
    """Return a request body: texts are the user's, dictionaries are turns."""
    messages = [turn if isinstance(turn, dict) else user(turn) for turn in turns]
    return {"model": "support", "messages": messages, **fields}


def user(content: Any) -> dict[str, Any]:
    """Return a user's turn."""
    return {"role": "user", "content": content}


def answer(content: str | None, finish_reason: str = "stop", **message: Any) -> dict[str, Any]:
    """Return an engine's answer."""
    turn = {"role": "assistant", "content": content, **message}
    return {"choices": [{"index": 0, "message": turn, "finish_reason": finish_reason}]}


def with_thresholds(settings: Settings, **fields: Any) -> Settings:
    """Return the settings with other thresholds of learning."""
    learning = settings.learning.model_copy(update=fields)
    return settings.model_copy(update={"learning": learning})
