"""`strop demo`: hands over to the demo of a checkout; an installed Strop has none."""

import os
import sys
from pathlib import Path

import click

from gateway.command.options import Options, StropCommand, pass_options
from serving.errors import ConfigurationError

_CHECKOUT = Path(__file__).parents[2]
_SCENARIO = "deploy.demo.scenario"


@click.command(cls=StropCommand)
@click.option(
    "--picture",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Where the curve is written, as SVG; default: curve.svg in the demo's home.",
)
@pass_options
def demo(options: Options, picture: Path | None) -> None:
    """Watch a model go stale and be sharpened again, with simulated people; 18 minutes or so.

    Runs a Strop of its own, in .strop-demo and on ports of its own: deploy/demo/demo.toml.
    """
    words = scenario_words(options, picture)
    if not (_CHECKOUT / "deploy" / "demo" / "scenario.py").is_file():
        raise ConfigurationError(
            "The demo comes with a checkout of Strop, and this one was installed without. "
            "Clone the repository, run `make install` there, and then `.venv/bin/strop demo`."
        )
    os.chdir(_CHECKOUT)
    # This process becomes the demo: Ctrl-C and the exit code are its own.
    os.execv(sys.executable, [sys.executable, "-m", _SCENARIO, *words])  # noqa: S606 - our own


def scenario_words(options: Options, picture: Path | None) -> list[str]:
    """Return what the scenario is told; paths hold wherever it runs."""
    words = ["--json"] if options.is_json else []
    if options.config:
        words += ["--config", str(options.config.absolute())]
    if picture:
        words += ["--picture", str(picture.absolute())]
    return words
