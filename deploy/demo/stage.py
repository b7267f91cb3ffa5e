"""What an act has at hand: the house, the people, the record, and what Strop says at the moment."""

import asyncio
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from deploy.demo.actors import Line, Reviewers, Users
from deploy.demo.company import ROUTING_PROMPT, Row
from deploy.demo.house import House, Json
from deploy.demo.record import Record
from deploy.demo.world import World
from serving.errors import StropError
from serving.store.learning import RunState

ALIAS = "support"
BUSY, QUIET = 30.0, 5.0
"""Requests a second of all users together, as far as the machine keeps up: quiet at first, busy
once users are content, quiet again in the evening."""
_POLL_SECONDS = 1.0
_WAIT_SECONDS = 900.0
_FAILED = (RunState.REJECTED, RunState.FAILED, RunState.CANCELLED)


@dataclass(slots=True)
class Stage:
    """The scene; acts read it and move it on."""

    house: House
    world: World = field(default_factory=World)
    record: Record = field(default_factory=Record)
    began_at: float = field(default_factory=time.monotonic)
    people: list[Users | Reviewers] = field(default_factory=list)
    says: str = ""
    """What `strop status` says: what is happening to the alias, or why nothing is."""
    champion: int = 1
    """The number of the release that answers."""
    run: Json | None = None
    """The newest training run."""
    last_run: int = 0
    """The run that the story has told to its end."""
    is_told: bool = False
    """Whether the story has come to its end."""

    def clock(self) -> float:
        """Return the seconds since the story began."""
        return time.monotonic() - self.began_at

    def note(self, text: str, mark: str = "") -> None:
        """Keep an event of now."""
        self.record.note(self.clock(), text, mark)

    @property
    def users(self) -> Users:
        """The people who ask; there once the alias is."""
        (found,) = (one for one in self.people if isinstance(one, Users))
        return found

    @property
    def reviewers(self) -> Reviewers:
        """The people who review; there once the alias is."""
        (found,) = (one for one in self.people if isinstance(one, Reviewers))
        return found

    async def until(self, is_so: Callable[[], bool], what: str) -> None:
        """Wait until it is so.

        Raises:
            StropError: it does not come about, the newest run failed, or `strop up` ended.
        """
        deadline = time.monotonic() + _WAIT_SECONDS
        while not is_so():
            self.house.check_alive()
            if self.run and self.run["state"] in _FAILED:
                raise StropError(f"Run {self.run['id']} {self.run['state']}: {_why(self.run)}")
            if time.monotonic() > deadline:
                raise StropError(f"After {_WAIT_SECONDS:.0f} s it is still not so that {what}.")
            await asyncio.sleep(0.2)

    async def import_rows(self, rows: Sequence[Row], name: str, split: str) -> None:
        """Write rows to a file and import it, by the command that a person would type."""
        path = self.house.settings.home / f"{name}.jsonl"
        await asyncio.to_thread(_write_rows, path, rows)
        await self.house.strop("datasets", "import", ALIAS, str(path), "--split", split)
        self.note(f"strop datasets import {ALIAS} {path.name} --split {split}: {len(rows)} rows")

    async def watch(self) -> None:
        """Follow what Strop says of the alias and of its runs, until cancelled."""
        while True:
            status = await self.house.get("/api/status")
            (alias,) = (one for one in status["aliases"] if one["name"] == ALIAS)
            runs = (await self.house.get("/api/runs", alias=ALIAS))["runs"]
            self.says, self.champion = alias["learning"], alias["champion"]["number"]
            self.run = max(runs, key=lambda run: run["id"], default=None)
            await asyncio.sleep(_POLL_SECONDS)


async def set_stage(house: House) -> Stage:
    """Make the alias, whose release 1 is the bare base, and keys for those who will use it."""
    stage = Stage(house)
    await house.strop(
        *("aliases", "create", ALIAS, "--task", "classify", "--system-prompt", ROUTING_PROMPT)
    )
    app = await house.strop("keys", "create", "--role", "app", "--name", "users")
    reviewer = await house.strop("keys", "create", "--role", "reviewer", "--name", "reviewers")
    failures = stage.record.failures
    stage.people = [
        Users(
            Line(house.client, app["key"], failures),
            *(ALIAS, stage.world, stage.record, stage.clock),
            per_second=QUIET,
        ),
        Reviewers(Line(house.client, reviewer["key"], failures), ALIAS, stage.world),
    ]
    stage.began_at = time.monotonic()
    return stage


def _write_rows(path: Path, rows: Sequence[Row]) -> None:
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))


def _why(run: dict[str, Any]) -> str:
    return run.get("error") or (run.get("verdict") or {}).get("reason") or "no reason was given"
