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


@dataclass(slots=True)
class Users:
    """A crowd whose requests come at `per_second`, as far as the answers keep up."""

    client: httpx.AsyncClient
    key: str
    alias: str
    world: World
    record: Record
    clock: Callable[[], float]
    per_second: float
    num_users: int = 24
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
        answer = await self._post("/v1/chat/completions", body)
        if answer is None:
            return
        said = answer.json()
        release = int(answer.headers["x-strop-release"])
        is_right = said["choices"][0]["message"]["content"].strip() == self.world.right_answer(text)
        self.record.count_answer(self.clock(), release, is_right)
        if self.rng.random() < (RATED_IF_RIGHT if is_right else RATED_IF_WRONG):
            await self._rate(name, said["id"], release, is_right)

    async def _rate(self, name: str, inference_id: str, release: int, is_up: bool) -> None:
        rating = {
            "inference_id": inference_id,
            "rating": "up" if is_up else "down",
            "rater": name,
        }
        if await self._post("/v1/feedback", rating) is not None:
            self.record.count_rating(self.clock(), release, is_up)

    async def _post(self, path: str, body: dict[str, Any]) -> httpx.Response | None:
        """Return the answer; a failure is written down, and the story judges it."""
        headers = {"Authorization": f"Bearer {self.key}"}
        try:
            answer = await self.client.post(path, json=body, headers=headers)
        except httpx.TransportError as error:
            self.record.failures.append(f"{path}: {error!r}")
            return None
        if answer.is_error:
            self.record.failures.append(f"{path}: {answer.status_code} {answer.text[:200]}")
            return None
        return answer


@dataclass(slots=True)
class Reviewers:
    """People who look at what was sampled for review."""

    client: httpx.AsyncClient
    key: str
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
        headers = {"Authorization": f"Bearer {self.key}"}
        found = await self.client.get(
            "/api/reviews/next", params={"alias": self.alias}, headers=headers
        )
        review = found.raise_for_status().json()["review"]
        if review is None:
            return False
        right = self.world.right_answer(_request_in(review["prompt"]))
        if right is None:
            return False
        is_right = review["answer"].strip() == right
        verdict = (
            {"verdict": "correct"} if is_right else {"verdict": "incorrect", "corrected": right}
        )
        submitted = await self.client.post(
            f"/api/reviews/{review['inference_id']}", json=verdict, headers=headers
        )
        submitted.raise_for_status()
        self.num_reviewed += 1
        self.num_corrected += not is_right
        return True


def _request_in(prompt: list[dict[str, Any]]) -> str:
    """Return what the customer wrote: the last user turn."""
    return str([turn["content"] for turn in prompt if turn["role"] == "user"][-1])
