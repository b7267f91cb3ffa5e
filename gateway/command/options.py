"""What commands share on their command line: `--config` and `--json`, ALIAS and its `--tenant`.

Imports nothing heavy: `strop --help` passes through here.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click


@dataclass(slots=True)
class Options:
    """What the options said that all commands share."""

    config: Path | None = None
    is_json: bool = False


Function = TypeVar("Function", bound=Callable[..., Any])

pass_options = click.make_pass_decorator(Options, ensure=True)
# Eager, as every --tenant beside an ALIAS has to be: read before `split_argument` looks at it.
tenant_option = click.option(
    "--tenant", default="default", show_default=True, is_eager=True, help="Whose alias it is."
)


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


def alias_argument(function: Function) -> Function:
    """Take ALIAS as `name` with --tenant, or as `tenant/name`; the command gets name and tenant."""
    argument = click.argument("name", metavar="ALIAS", callback=split_argument)
    return argument(tenant_option(function))


def optional_alias_argument(function: Function) -> Function:
    """Take ALIAS likewise, or none at all; the command says which --tenant it takes."""
    argument = click.argument("name", metavar="[ALIAS]", required=False, callback=split_argument)
    return argument(function)


def split_argument(context: click.Context, _: click.Parameter, alias: str | None) -> str | None:
    """Give the command an ALIAS's name, and its tenant in place of --tenant."""
    if alias is None:
        return None
    name, context.params["tenant"] = split_alias(alias, context.params["tenant"])
    return name


def split_alias(alias: str, tenant: str) -> tuple[str, str]:
    """Return (name, tenant) of an ALIAS argument; `tenant/name` wins over --tenant."""
    owner, slash, name = alias.rpartition("/")
    return name, owner if slash else tenant


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
