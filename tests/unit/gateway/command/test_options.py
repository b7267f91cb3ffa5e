"""How an ALIAS argument is read."""

import pytest

from gateway.command.options import split_alias


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
