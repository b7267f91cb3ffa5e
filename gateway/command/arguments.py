"""Arguments that several commands share."""

from collections.abc import Callable
from typing import Any, TypeVar

import click

Function = TypeVar("Function", bound=Callable[..., Any])

tenant_option = click.option(
    "--tenant", default="default", show_default=True, help="Whose alias it is."
)


def alias_argument(function: Function) -> Function:
    """Take ALIAS as `name` with --tenant, or as `tenant/name`."""
    return click.argument("alias", metavar="ALIAS")(tenant_option(function))


def split_alias(alias: str, tenant: str) -> tuple[str, str]:
    """Return (name, tenant) of an ALIAS argument; `tenant/name` wins over --tenant."""
    owner, slash, name = alias.rpartition("/")
    return name, owner if slash else tenant
