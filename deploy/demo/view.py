"""What a person sees while the demo runs: a live screen on a terminal, a line at a time elsewhere."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import groupby
from typing import Any, Protocol

from rich.box import SIMPLE_HEAD
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from deploy.demo.plot import Stroke, draw
from deploy.demo.record import Point, Record, clock, lines_of, percent, table_rows
from deploy.demo.stage import Stage
from deploy.demo.story import MAX_DOWN_SHARE

_LOOK_SECONDS = 0.5
_LINE_SECONDS = 15.0
_NUM_EVENTS = 9
_HEIGHT = 12
_COLUMNS = ("", "500 held-out rows", "right answers", "thumbs-down", "ratings")


class View(Protocol):
    """Shows a stage, until cancelled."""

    async def watch(self, stage: Stage) -> None:
        """Follow the stage."""

    def say(self, text: str) -> None:
        """Print a line of its own."""


class LineView:
    """For a pipe or a log: events as they come, and now and then where things stand."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._num_said = 0

    async def watch(self, stage: Stage) -> None:
        """Print events as they come, and a line of state every quarter of a minute."""
        due = 0.0
        try:
            while True:
                self._say_events(stage)
                if stage.clock() >= due:
                    is_training = stage.run is not None and stage.run["ended_at"] is None
                    progress = f"; {stage.says}" if is_training else ""
                    self.say(f"{clock(stage.clock()):>6}    {state_line(stage)}{progress}")
                    due = stage.clock() + _LINE_SECONDS
                await asyncio.sleep(_LOOK_SECONDS)
        finally:
            self._say_events(stage)

    def say(self, text: str) -> None:
        """Print a line as it is."""
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def _say_events(self, stage: Stage) -> None:
        for event in stage.record.events[self._num_said :]:
            self.say(f"{clock(event.at):>6}  * {event.text}")
        self._num_said = len(stage.record.events)


class LiveView:
    """For a terminal: the two curves, what Strop says, and the last events."""

    def __init__(self, console: Console) -> None:
        self._console = console

    async def watch(self, stage: Stage) -> None:
        """Redraw twice a second; the last picture stays."""
        with Live(console=self._console, auto_refresh=False) as live:
            try:
                while True:
                    live.update(screen(stage, self._console.width), refresh=True)
                    await asyncio.sleep(_LOOK_SECONDS)
            finally:
                live.update(screen(stage, self._console.width), refresh=True)

    def say(self, text: str) -> None:
        """Print a line as it is."""
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)


def view_for(console: Console) -> View:
    """Return the view that suits where the words go."""
    return LiveView(console) if console.is_terminal else LineView(console)


@contextmanager
def waiting(console: Console, text: str) -> Iterator[None]:
    """Say that something takes a while."""
    if console.is_terminal:
        with console.status(text):
            yield
    else:
        console.print(text, markup=False, highlight=False)
        yield


def screen(stage: Stage, width: int) -> RenderableType:
    """Return the whole screen of a moment."""
    record = stage.record
    events = [
        Text.assemble((f"{clock(event.at):>6}  ", "dim"), event.text, overflow="ellipsis")
        for event in record.events[-_NUM_EVENTS:]
    ]
    for line in events:
        line.no_wrap = True
    return Group(
        Panel(chart(record.points(), width - 4), title=f"strop demo  {clock(stage.clock())}"),
        Text(state_line(stage), style="bold"),
        Text(stage.says, style="italic"),
        Text(),
        *events,
    )


def chart(points: list[Point], width: int) -> Text:
    """Return the two curves over all of the time so far, with the threshold between them."""
    end = max(points[-1].at if points else 0.0, 60.0)
    strokes = [Stroke([(x / 100, MAX_DOWN_SHARE) for x in range(0, 100, 2)], "dim red")]
    for name, style in (("right_share", "green"), ("down_share", "red")):
        strokes += [
            Stroke(
                [
                    (point.at / end, getattr(point, name))
                    for point in of_one
                    if getattr(point, name) is not None
                ],
                style,
            )
            for _, of_one in groupby(points, lambda point: point.release)
        ]
    text = Text(no_wrap=True)
    for number, row in enumerate(draw(strokes, width - 6, _HEIGHT)):
        text.append(f"{_label(number):>5} ", "dim")
        for character, style in row:
            text.append(character, style)
        text.append("\n")
    text.append("      ")
    text.append("right answers", "green")
    text.append("   ")
    text.append("thumbs-down among ratings", "red")
    text.append(f"   {clock(end)}".rjust(max(0, width - 50)), "dim")
    return text


def state_line(stage: Stage) -> str:
    """Say where things stand, in one line."""
    points = stage.record.points()
    now = points[-1] if points else None
    shares = (
        f"right {percent(now.right_share)}, thumbs-down {percent(now.down_share)}" if now else "-"
    )
    return f"release {stage.champion} answers; {shares}"


def print_summary(console: Console, record: Record) -> None:
    """Print the table of the end: on a terminal with rules, elsewhere in plain columns."""
    rows = [_cells(row) for row in table_rows(record)]
    if not console.is_terminal:
        for line in lines_of([_COLUMNS, *rows]):
            console.print(line, markup=False, highlight=False, soft_wrap=True)
        return
    table = Table(*_COLUMNS, box=SIMPLE_HEAD, pad_edge=False)
    for row in rows:
        table.add_row(*row)
    console.print(table)


def _cells(row: dict[str, Any]) -> list[str]:
    return [
        row["phase"],
        percent(row["held_out_score"]),
        percent(row["right_share"]),
        percent(row["down_share"]),
        str(row["num_ratings"]),
    ]


def _label(row: int) -> str:
    labels = {0: "100%", _HEIGHT // 2: "50%", _HEIGHT - 1: "0%"}
    return labels.get(row, "")
