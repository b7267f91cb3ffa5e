"""`strop demo`: a company's model goes stale and is sharpened again, while people use it.

python -m deploy.demo.scenario        # from the repository root
"""

import asyncio
import json
import signal
import sys
from collections.abc import Coroutine
from dataclasses import dataclass
from pathlib import Path

import click
from rich.console import Console

from deploy.demo.house import running_house
from deploy.demo.picture import draw_picture
from deploy.demo.record import clock, to_json
from deploy.demo.stage import ALIAS, Stage, set_stage
from deploy.demo.story import ACTS, unmet
from deploy.demo.view import View, print_summary, view_for, waiting
from gateway.command.main import main
from gateway.command.options import Options, StropCommand, pass_options
from gateway.command.processes import near
from serving.errors import ConflictError
from serving.fleet.hardware import find_hardware
from serving.settings import Settings, load_settings

HERE = Path(__file__).parent


@click.command("strop demo", cls=StropCommand)
@click.option(
    "--picture",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Where the curve is written, as SVG; default: curve.svg in the demo's home.",
)
@pass_options
def demo(options: Options, picture: Path | None) -> None:
    """Tell the story; on a terminal everything stays up afterwards, until Ctrl-C."""
    config = options.config or HERE / "demo.toml"
    settings = load_settings(config)
    console = Console(stderr=options.is_json)  # with --json one object has stdout to itself
    theatre = Theatre(
        settings=settings,
        config=config,
        console=console,
        view=view_for(console),
        picture=picture or settings.home / "curve.svg",
        stays=console.is_terminal and not options.is_json,
    )
    try:
        stage = asyncio.run(perform(theatre))
    except asyncio.CancelledError as cancelled:  # by SIGTERM
        raise click.Abort from cancelled
    if options.is_json:
        click.echo(json.dumps({"machine": machine(), **to_json(stage.record)}))


@dataclass(frozen=True, slots=True, kw_only=True)
class Theatre:
    """Where the story is told, and how it is shown."""

    settings: Settings
    config: Path
    console: Console
    view: View
    picture: Path
    stays: bool
    """Whether everything goes on after the last act, until Ctrl-C."""


async def perform(theatre: Theatre) -> Stage:
    """Start a Strop, tell the story on it, and stop it.

    Raises:
        StropError: something did not happen as it should.
    """
    this = asyncio.current_task()
    assert this is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, this.cancel)
    async with running_house(theatre.settings, theatre.config) as house:
        with waiting(theatre.console, "Starting: database, engine, worker, gateway"):
            await house.until_ready()
            stage = await set_stage(house)
        players = [stage.watch(), theatre.view.watch(stage), *(one.run() for one in stage.people)]
        try:
            await alongside(_tell(stage, theatre), *players)
        except asyncio.CancelledError:
            if not stage.is_told:
                raise
        return stage


async def alongside(
    story: Coroutine[None, None, None], *players: Coroutine[None, None, None]
) -> None:
    """Run the players for as long as the story takes; whatever fails first ends it all."""
    tasks = [asyncio.create_task(one) for one in (story, *players)]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in done:
        await task  # raises what it raised


async def _tell(stage: Stage, theatre: Theatre) -> None:
    """Play act after act, then sum up and say what to try.

    Raises:
        ConflictError: all acts were played, and yet something promised did not happen.
    """
    for act in ACTS:
        stage.note(f"--- {act.title}")
        await act.play(stage)
    took = stage.clock()
    caption = f"{machine()}; {clock(took)} minutes; {stage.record.num_answers()} requests"
    theatre.picture.write_text(draw_picture(stage.record, caption))
    print_summary(theatre.console, stage.record)
    theatre.view.say(f"{caption}. The curve: {near(theatre.picture.absolute())}")
    broken = unmet(stage.record)
    if broken:
        raise ConflictError(f"The demo did not keep its promise: {'; '.join(broken)}.")
    if theatre.stays:
        theatre.view.say("Users go on asking; Ctrl-C ends it. Try, in another terminal:")
    theatre.view.say(f"{_strop()} rollback {ALIAS} --config {near(theatre.config.absolute())}")
    stage.is_told = True
    if theatre.stays:
        await asyncio.Event().wait()


def machine() -> str:
    """Return what this ran on, in words."""
    found = find_hardware()
    return f"{found.num_cores} cores, {found.memory_gib:.0f} GiB"


def _strop() -> str:
    """Return the `strop` of this environment, as it can be typed here."""
    beside = Path(sys.executable).with_name("strop")
    return near(beside) if beside.exists() else "strop"


if __name__ == "__main__":
    main(command=demo)
