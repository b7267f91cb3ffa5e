"""What `strop up` shows while it waits: a spinner on a terminal, a line per change in a pipe."""

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable, Sequence

import click
from rich.console import Console

from serving.fleet.supervise import ChildStatus

Statuses = Callable[[], Sequence[ChildStatus]]
IsReady = Callable[[], Awaitable[bool]]

_LOOK_SECONDS = 0.5


async def show_progress(statuses: Statuses, is_ready: IsReady) -> None:
    """Return when `is_ready`; meanwhile show how far each child is."""
    if sys.stderr.isatty():
        await _spin(statuses, is_ready)
    else:
        await _print_changes(statuses, is_ready)


async def _spin(statuses: Statuses, is_ready: IsReady) -> None:
    started_at = time.monotonic()
    with Console(stderr=True).status("Starting") as status:
        while not await is_ready():
            seconds = time.monotonic() - started_at
            status.update(f"Starting, {seconds:.0f} s: {describe(statuses())}")
            await asyncio.sleep(_LOOK_SECONDS)


async def _print_changes(statuses: Statuses, is_ready: IsReady) -> None:
    said = ""
    while not await is_ready():
        now = describe(statuses())
        if now != said:
            click.echo(f"Starting: {now}", err=True)
            said = now
        await asyncio.sleep(_LOOK_SECONDS)


def describe(statuses: Sequence[ChildStatus]) -> str:
    """Say where every child stands, in one line."""
    return ", ".join(f"{status.name} {status.state.replace('_', ' ')}" for status in statuses)
