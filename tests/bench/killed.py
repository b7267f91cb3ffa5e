"""Rows lost when the gateway is killed at load: `python -m tests.bench.killed`.

32 clients call without pause and write down the id of every answer that they have seen whole. Then
the gateway gets SIGKILL, and another one takes its place; so several times. What is in the
database at the end as answered is held against what clients saw: an answer that is missing there
is lost. That, or more rows than clients and their connections account for (`rows.py`), ends this
with 1.

LiteLLM is not beside it. Its log needs Prisma's query engine, which neither pip nor npm brings:
Prisma fetches it from a server of its own.
"""

import argparse
import asyncio
import random
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import aiohttp

from gateway.command.progress import live_line
from tests.bench.peers import PATH, Target, chat
from tests.bench.report import finish, load_now, make_parser
from tests.bench.rows import Tally, count_rows, describe_rows
from tests.bench.stand import kill, standing
from tests.bench.wrk import instant_upstream
from tests.scale import Scale

CLIENTS = 32


def main() -> int:
    """Measure, print."""
    parser = make_parser(__doc__)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=2, help="of load before each kill, about")
    options = parser.parse_args()
    with live_line() as tell:
        figures = measure(options, tell)
    keep(figures, Scale(is_full=options.write))
    return finish("rows_killed", figures, describe(figures), options)


def measure(options: argparse.Namespace, tell: Callable[[str], None]) -> dict[str, Any]:
    """Return all figures."""
    load, tally = load_now(), Tally()
    seen: set[str] = set()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="strop-bench-")))
        direct = stack.enter_context(instant_upstream(folder))
        stand = stack.enter_context(standing(direct.url))
        for number in range(options.kills):
            with stand.gateway() as ours:
                tell(f"kill {number + 1} of {options.kills}: {len(seen)} answers so far")
                seconds = options.seconds * random.uniform(0.5, 1.5)  # noqa: S311 - no secret
                answered = asyncio.run(call_until_killed(ours, seconds))
                tally.add(len(answered), 0, CLIENTS)
                seen |= answered
        tell("Reading the journals into the database")
        counted = count_rows(stand, tally)
        num_lost = len(seen - stand.ok_ids())
    return {
        "load_before": load,
        "kills": options.kills,
        "clients": CLIENTS,
        "lost": num_lost,
        **counted,
        "is_ok": counted["is_ok"] and not num_lost,
    }


async def call_until_killed(target: Target, seconds: float) -> set[str]:
    """Call without pause, kill the gateway after so long; return the ids of whole answers."""
    seen: set[str] = set()
    connector = aiohttp.TCPConnector(limit=0)
    headers = {"content-type": "application/json", **target.headers}
    async with aiohttp.ClientSession(headers=headers, connector=connector) as session:
        calling = [
            asyncio.create_task(_call(session, target, chat(target.model), seen))
            for _ in range(CLIENTS)
        ]
        await asyncio.sleep(seconds)
        kill(target)
        await asyncio.gather(*calling)
    return seen


async def _call(
    session: aiohttp.ClientSession, target: Target, body: bytes, seen: set[str]
) -> None:
    """Call until nobody answers any more."""
    try:
        while True:
            async with session.post(target.url + PATH, data=body) as answer:
                await answer.read()
                assert answer.status == 200, f"answered with {answer.status}"
                seen.add(answer.headers["x-strop-inference-id"])
    except (aiohttp.ClientError, OSError):
        return


def keep(figures: dict[str, Any], scale: Scale) -> None:
    """Keep what README tells."""
    scale.record(
        "rows_killed",
        kills=figures["kills"],
        clients=figures["clients"],
        answered=figures["answered"],
        lost=figures["lost"],
    )


def describe(figures: dict[str, Any]) -> str:
    """Return the figures in a sentence."""
    return (
        f"{figures['kills']} x SIGKILL under {figures['clients']} clients: "
        f"{figures['answered']:,} answers seen, {figures['lost']} of them lost.\n"
        f"{describe_rows(figures)}\n"
        "LiteLLM is not beside it: the engine of its log's database comes neither by pip nor by npm."
    )


if __name__ == "__main__":
    raise SystemExit(main())
