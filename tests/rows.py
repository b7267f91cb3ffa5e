"""Rows as people bring them: Halden's, made by the demo's grammar, in files that `strop` imports."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from random import Random

import httpx

from deploy.demo.company import BEFORE, Company, Row

Draw = Callable[[Company, int, int], list[Row]]
"""`routing_rows` or `extraction_rows`: company, seed, count."""
_AT_ONCE = 16


def write_rows(path: Path, rows: list[Row]) -> Path:
    """Write JSONL, the system messages left out: the alias has its own."""
    bare = [{**row, "messages": row["messages"][1:]} for row in rows]
    path.write_text("".join(f"{json.dumps(row)}\n" for row in bare))
    return path


def apart(draw: Draw, count: int, *, seed: int, known: list[Row]) -> list[Row]:
    """Draw `count` rows of which no request is among the `known` ones."""
    seen = {request_of(row) for row in known}
    fresh = [row for row in draw(BEFORE, seed, 2 * count) if request_of(row) not in seen]
    assert len(fresh) >= count
    return fresh[:count]


def shuffled(rows: list[Row]) -> list[Row]:
    """Return the same requests, each with the answer to another."""
    answers = [row["messages"][-1] for row in rows]
    Random(5).shuffle(answers)  # noqa: S311 - a test, no secret
    return [
        {**row, "messages": [*row["messages"][:-1], answer]}
        for row, answer in zip(rows, answers, strict=True)
    ]


def request_of(row: Row) -> str:
    """Return what the customer wrote."""
    text: str = row["messages"][1]["content"]
    return text


async def answers(url: str, headers: dict[str, str], model: str, rows: list[Row]) -> list[str]:
    """Ask what stands in the rows, greedily; returns what was answered, in order."""
    slots = asyncio.Semaphore(_AT_ONCE)

    async def ask(client: httpx.AsyncClient, row: Row) -> str:
        body = {
            "model": model,
            "messages": row["messages"][:-1],
            "temperature": 0,
            "max_tokens": 48,
        }
        async with slots:
            answer = await client.post("/v1/chat/completions", json=body)
        assert answer.status_code == 200, answer.text
        said: str = answer.json()["choices"][0]["message"]["content"]
        return said.strip()

    async with httpx.AsyncClient(base_url=url, headers=headers, timeout=300) as client:
        return list(await asyncio.gather(*(ask(client, row) for row in rows)))


def percent_right(given: list[str], rows: list[Row]) -> float:
    """Return how many answers are exactly the rows' own, in percent."""
    right = [said == row["messages"][-1]["content"] for said, row in zip(given, rows, strict=True)]
    return round(100 * sum(right) / len(right), 1)
