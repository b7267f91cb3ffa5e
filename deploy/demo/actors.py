"""Simulated people who know the right answers. Like any client, all they have is HTTP.

Users send what customers write to the alias, and rate some of the answers. Reviewers take what the
review queue hands them, and correct what is wrong.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any

import httpx

from deploy.demo.record import Record
from deploy.demo.world import World

MAX_ANSWER_TOKENS = 16
RATED_IF_RIGHT = 0.35
RATED_IF_WRONG = 0.5
"""Who is not content rates more often."""
_IDLE_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Line:
    """How a person reaches Strop: with a key, and an eye on what fails."""

    client: httpx.AsyncClient
    key: str
    failures: list[str]
    """Requests that were not answered, by what came instead."""

    async def send(self, method: str, path: str, **content: Any) -> httpx.Response | None:
        """Return the answer; None: it failed, which is written down, and the story judges it."""
        headers = {"Authorization": f"Bearer {self.key}"}
        try:
            answer = await self.client.request(method, path, headers=headers, **content)
        except httpx.TransportError as error:
            self.failures.append(f"{path}: {error!r}")
            return None
        if answer.is_error:
            self.failures.append(f"{path}: {answer.status_code} {answer.text[:200]}")
            return None
        return answer


@dataclass(slots=True)
class Users:
    """A crowd whose requests come at `per_second`, as far as the answers keep up."""

    line: Line
    alias: str
    world: World
    record: Record
    clock: Callable[[], float]
    per_second: float
    num_users: int = 32
    rng: Random = field(default_factory=lambda: Random(3))

    async def run(self) -> None:
        """Ask and rate until cancelled."""
        async with asyncio.TaskGroup() as group:
            for number in range(self.num_users):
                group.create_task(self._use(f"user-{number}"))

    async def _use(self, name: str) -> None:
        while True:
            # Poisson arrivals: the pauses of independent people.
            await asyncio.sleep(self.rng.expovariate(self.per_second / self.num_users))
            await self._ask(name)

    async def _ask(self, name: str) -> None:
        text = self.world.next_request()
        body = {
            "model": self.alias,
            "messages": [{"role": "user", "content": text}],
            "max_tokens": MAX_ANSWER_TOKENS,
            "temperature": 0,
        }
        answer = await self.line.send("POST", "/v1/chat/completions", json=body)
        if answer is None:
            return
        said = answer.json()
        release = int(answer.headers["x-strop-release"])
        is_right = said["choices"][0]["message"]["content"].strip() == self.world.right_answer(text)
        self.record.count_answer(self.clock(), release, is_right)
        if self.rng.random() < (RATED_IF_RIGHT if is_right else RATED_IF_WRONG):
            await self._rate(name, said["id"], release, is_right)

    async def _rate(self, name: str, inference_id: str, release: int, is_up: bool) -> None:
        thumb = "up" if is_up else "down"
        rating = {"inference_id": inference_id, "rating": thumb, "rater": name}
        if await self.line.send("POST", "/v1/feedback", json=rating) is not None:
            self.record.count_rating(self.clock(), release, is_up)


@dataclass(slots=True)
class Reviewers:
    """People who look at what was sampled for review."""

    line: Line
    alias: str
    world: World
    num_reviewed: int = 0
    num_corrected: int = 0

    async def run(self) -> None:
        """Review whatever waits, until cancelled; what nobody here wrote is left to others."""
        while True:
            if not await self._review_next():
                await asyncio.sleep(_IDLE_SECONDS)

    async def _review_next(self) -> bool:
        """Judge one answer; False: there was none to judge."""
        found = await self.line.send("POST", "/api/reviews/next", json={"alias": self.alias})
        review = found.json()["review"] if found is not None else None
        if review is None:
            return False
        right = self.world.right_answer(_request_in(review["prompt"]))
        if right is None:
            return False
        is_right = review["answer"].strip() == right
        verdict = {"verdict": "correct"} if is_right else _correction(right)
        path = f"/api/reviews/{review['inference_id']}"
        if await self.line.send("POST", path, json=verdict) is None:
            return False
        self.num_reviewed += 1
        self.num_corrected += not is_right
        return True


def _correction(right: str) -> dict[str, str]:
    return {"verdict": "incorrect", "corrected": right}


def _request_in(prompt: list[dict[str, Any]]) -> str:
    """Return what the customer wrote: the last user turn."""
    return str([turn["content"] for turn in prompt if turn["role"] == "user"][-1])
