"""What long work shows on stderr: a spinner on a terminal, a line per change in a pipe."""

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import click
from rich.console import Console
from rich.text import Text

from serving.fleet.program import ChildStatus

Describe = Callable[[], str]
IsReady = Callable[[], Awaitable[bool]]

_LOOK_SECONDS = 0.5
_QUIET_SECONDS = 10.0


@contextmanager
def live_line() -> Generator[Callable[[str], None]]:
    """Yield what takes the newest word on how far something is.

    A terminal shows the newest at once; a pipe gets what has changed, every ten seconds at most.
    """
    if sys.stderr.isatty():
        with Console(stderr=True).status("Starting") as status:
            # Text, not markup: a message may hold square brackets.
            yield lambda text: status.update(Text(text))
    else:
        yield _Printed().tell


@dataclass(slots=True)
class _Printed:
    """The last line that went into a pipe, and when."""

    text: str = ""
    at: float = -_QUIET_SECONDS

    def tell(self, text: str) -> None:
        """Print a line, unless it is old or the last one is young."""
        now = time.monotonic()
        if text != self.text and now - self.at >= _QUIET_SECONDS:
            click.echo(text, err=True)
            self.text, self.at = text, now


@dataclass(slots=True)
class CountedLine:
    """Tells how many of how many are done."""

    tell: Callable[[str], None]
    word: str
    num_done: int = 0
    num_all: int = 0

    def begin(self, num_all: int) -> None:
        """Say how many there are."""
        self.num_all = num_all

    def count(self) -> None:
        """Count one more."""
        self.num_done += 1
        self.tell(f"{self.word} {self.num_done} of {self.num_all}.")


async def show_progress(describe: Describe, is_ready: IsReady) -> None:
    """Return when `is_ready`; meanwhile show how far everything is."""
    if sys.stderr.isatty():
        await _spin(describe, is_ready)
    else:
        await _print_changes(describe, is_ready)


async def _spin(describe: Describe, is_ready: IsReady) -> None:
    started_at = time.monotonic()
    with Console(stderr=True).status("Starting") as status:
        while not await is_ready():
            seconds = time.monotonic() - started_at
            status.update(Text(f"Starting, {seconds:.0f} s: {describe()}"))
            await asyncio.sleep(_LOOK_SECONDS)


async def _print_changes(describe: Describe, is_ready: IsReady) -> None:
    said = ""
    while not await is_ready():
        now = describe()
        if now != said:
            click.echo(f"Starting: {now}", err=True)
            said = now
        await asyncio.sleep(_LOOK_SECONDS)


def describe_start(statuses: Sequence[ChildStatus], awaited: Sequence[str]) -> str:
    """Say where every child stands and what is waited for, in one line."""
    states = ", ".join(f"{status.name} {status.state.replace('_', ' ')}" for status in statuses)
    return f"{states}; waiting for {', '.join(awaited)}" if awaited else states
