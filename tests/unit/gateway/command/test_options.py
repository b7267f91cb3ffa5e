"""How an ALIAS argument is read."""

import click
import pytest
from click.testing import CliRunner

from gateway.command.options import (
    alias_argument,
    optional_alias_argument,
    split_alias,
    tenant_option,
)


@click.command()
@alias_argument
def told(name: str, tenant: str) -> None:
    """Say what arrived."""
    click.echo(f"{name} of {tenant}")


@click.command()
@optional_alias_argument
@tenant_option
def told_if_any(name: str | None, tenant: str) -> None:
    """Say what arrived, if anything did."""
    click.echo(f"{name} of {tenant}")


@pytest.mark.parametrize(
    ("alias", "tenant", "expected"),
    [
        ("support", "default", ("support", "default")),
        ("acme/support", "default", ("support", "acme")),
        ("acme/support", "other", ("support", "acme")),
        ("/support", "other", ("support", "")),
    ],
)
def test_an_alias_may_carry_its_tenant(alias: str, tenant: str, expected: tuple[str, str]) -> None:
    """`tenant/name` wins over --tenant; an empty tenant is left to be refused by name."""
    assert split_alias(alias, tenant) == expected


@pytest.mark.parametrize("command", [told, told_if_any])
@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("support", "support of default"),
        ("support --tenant other", "support of other"),
        ("acme/support", "support of acme"),
        ("acme/support --tenant other", "support of acme"),
        ("--tenant other acme/support", "support of acme"),
    ],
)
def test_a_command_gets_name_and_tenant(command: click.Command, words: str, expected: str) -> None:
    """Wherever --tenant stands, and whether or not ALIAS may be left out."""
    assert CliRunner().invoke(command, words).output.strip() == expected


def test_an_alias_may_be_left_out() -> None:
    """Then there is no name, and the tenant is the option's."""
    assert CliRunner().invoke(told_if_any, "--tenant acme").output.strip() == "None of acme"
