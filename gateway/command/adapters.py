"""`strop adapters`: import, list, show and verify adapters."""

from pathlib import Path

import click

from gateway.command.options import (
    Options,
    StropGroup,
    alias_argument,
    optional_alias_argument,
    pass_options,
)
from gateway.command.output import answer, print_facts, print_table
from gateway.command.running import run
from gateway.operations import adapters as operations
from gateway.operations.resources import Json


@click.group(cls=StropGroup)
def adapters() -> None:
    """Import, list, show and verify adapters: trained LoRAs, each immutable."""


@adapters.command("import")
@alias_argument
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@pass_options
def import_(options: Options, name: str, tenant: str, folder: Path) -> None:
    """Check a PEFT FOLDER, copy it into the home and make a candidate release of it."""
    imported = run(
        options,
        lambda resources: operations.import_adapter(resources, name, tenant, folder.absolute()),
    )
    answer(options, imported, lambda body: _show_imported(f"{tenant}/{name}", body))


@adapters.command("list")
@optional_alias_argument
@click.option("--tenant", is_eager=True, help="Only this tenant's; whose ALIAS it is.")
@pass_options
def list_(options: Options, name: str | None, tenant: str | None) -> None:
    """List adapters: all, those of one tenant, or those of one ALIAS."""
    found = run(options, lambda resources: operations.list_adapters(resources, name, tenant))
    answer(options, found, _show_list)


@adapters.command()
@click.argument("name")
@pass_options
def show(options: Options, name: str) -> None:
    """Show one adapter."""
    answer(
        options,
        run(options, lambda resources: operations.show_adapter(resources, name)),
        print_facts,
    )


@adapters.command()
@click.argument("name")
@pass_options
def verify(options: Options, name: str) -> None:
    """Compare an adapter's files with its manifest."""
    verified = run(options, lambda resources: operations.verify_adapter(resources, name))
    answer(
        options, verified, lambda body: click.echo(f"{body['name']}: every file is as imported.")
    )


def _show_imported(alias: str, body: Json) -> None:
    number = body["release"]["number"]
    click.echo(f"Imported {body['adapter']['name']} as release {number}.")
    click.echo(f"Next: strop promote {alias} {number} --force --reason WHY")


def _show_list(body: Json) -> None:
    print_table(
        ("NAME", "POOL", "RANK", "BYTES", "CREATED", "SOURCE"),
        [
            tuple(
                adapter[name]
                for name in ("name", "pool", "rank", "num_bytes", "created_at", "source")
            )
            for adapter in body["adapters"]
        ],
        empty="There are no adapters. `strop adapters import ALIAS FOLDER` brings one in.",
    )
