"""`--config` and `--json`, which every command takes on either side of its name.

Imports nothing heavy: `strop --help` passes through here.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click


@dataclass(slots=True)
class Options:
    """What the options said that all commands share."""

    config: Path | None = None
    is_json: bool = False


pass_options = click.make_pass_decorator(Options, ensure=True)


class StropCommand(click.Command):
    """A command that takes the shared options."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params += shared_options()


class StropGroup(click.Group):
    """A noun whose verbs, like itself, take the shared options."""

    command_class = StropCommand

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params += shared_options()


def shared_options() -> list[click.Parameter]:
    """Return the options that every command has; they fill the one `Options` of the call."""
    return [
        click.Option(
            ["--config"],
            type=click.Path(dir_okay=False, path_type=Path),
            expose_value=False,
            callback=_keep_config,
            help="The configuration; default: $STROP_CONFIG, else strop.toml where it exists.",
        ),
        click.Option(
            ["--json"],
            is_flag=True,
            expose_value=False,
            callback=_keep_json,
            help="Print one JSON object.",
        ),
    ]


def _keep_config(context: click.Context, _: click.Parameter, value: Path | None) -> None:
    options = context.ensure_object(Options)
    options.config = value or options.config


def _keep_json(context: click.Context, _: click.Parameter, value: bool) -> None:
    options = context.ensure_object(Options)
    options.is_json = value or options.is_json
