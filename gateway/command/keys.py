"""`strop keys`: make, list and revoke bearer keys."""

import click

from gateway.command.options import Options, StropGroup, pass_options
from gateway.command.output import answer, print_facts, print_table
from gateway.command.running import run
from gateway.operations import keys as operations
from gateway.operations.resources import Json
from serving.types import Role


@click.group(cls=StropGroup)
def keys() -> None:
    """Make, list and revoke bearer keys."""


@keys.command()
@click.option("--role", type=click.Choice([role.value for role in Role]), required=True)
@click.option("--tenant", default="default", show_default=True, help="Whose key it is.")
@click.option("--name", required=True, help="What people recognise it by.")
@click.option("--alias", help="The one alias that it may call; default: all of its tenant's.")
@click.option("--no-log", is_flag=True, help="Do not record its requests.")
@click.option("--no-train", is_flag=True, help="Record its requests, never train on them.")
@pass_options
def create(
    options: Options,
    role: str,
    tenant: str,
    name: str,
    alias: str | None,
    no_log: bool,
    no_train: bool,
) -> None:
    """Make a key. Its text is printed once and kept nowhere."""
    made = run(
        options,
        lambda resources: operations.create_key(
            resources,
            role=Role(role),
            tenant=tenant,
            name=name,
            alias=alias,
            no_log=no_log,
            no_train=no_train,
        ),
    )
    answer(options, made, _show_new)


@keys.command("list")
@click.option("--tenant", help="Only this tenant's.")
@pass_options
def list_(options: Options, tenant: str | None) -> None:
    """List keys, revoked ones too."""
    found = run(options, lambda resources: operations.list_keys(resources, tenant=tenant))
    answer(options, found, _show_list)


@keys.command()
@click.argument("key_id", metavar="ID")
@pass_options
def revoke(options: Options, key_id: str) -> None:
    """Revoke a key: every gateway worker refuses it within a second."""
    revoked = run(options, lambda resources: operations.revoke_key(resources, key_id))
    answer(options, revoked, lambda key: click.echo(f"Key {key['id']} ({key['name']}) is revoked."))


def _show_new(key: Json) -> None:
    print_facts({name: key[name] for name in ("id", "role", "tenant", "alias", "key")})
    click.echo("Keep it now: it is not shown again.", err=True)


def _show_list(body: Json) -> None:
    print_table(
        ("ID", "ROLE", "TENANT", "NAME", "ALIAS", "CREATED", "REVOKED"),
        [
            tuple(
                key[name]
                for name in ("id", "role", "tenant", "name", "alias", "created_at", "revoked_at")
            )
            for key in body["keys"]
        ],
        empty="There are no keys. `strop keys create --role app --name NAME` makes one.",
    )
