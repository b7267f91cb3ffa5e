"""`strop datasets`: import, build, list, show and export what aliases learn from."""

from pathlib import Path

import click

from gateway.command.options import (
    Options,
    StropGroup,
    alias_argument,
    optional_alias_argument,
    pass_options,
    tenant_option,
)
from gateway.command.output import answer, print_facts, print_table, short_time
from gateway.command.running import CONSOLE, run
from gateway.operations import datasets as operations
from gateway.operations.resources import Json
from serving.store.learning import Split

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_FOLDER = click.Path(file_okay=False, path_type=Path)


@click.group(cls=StropGroup)
def datasets() -> None:
    """Import, build, list, show and export what aliases learn from and are judged on."""


@datasets.command("import")
@alias_argument
@click.argument("file", type=_FILE)
@click.option(
    "--split",
    type=click.Choice([split.value for split in Split]),
    required=True,
    help="train: rows to learn from; eval: a new revision of the evaluation set.",
)
@click.option("--replace", is_flag=True, help="With train: rows of earlier imports train no more.")
@pass_options
def import_(
    options: Options, name: str, tenant: str, file: Path, split: str, replace: bool
) -> None:
    """Import a JSONL FILE whole, or refuse it whole: every wrong line is named.

    A line is {"instruction", "input", "output"} or {"messages": [...], "tools": [...]}, with
    "id", "group", "slice", "at" and "retrieved" where there are any.
    """
    imported = run(
        options,
        lambda resources: operations.import_file(
            resources, name, tenant, file, Split(split), actor=CONSOLE, replaces=replace
        ),
    )
    answer(options, imported, _show_imported)


@datasets.command()
@alias_argument
@pass_options
def build(options: Options, name: str, tenant: str) -> None:
    """Freeze what there is to learn from into a dataset; `strop train` does it by itself."""
    built = run(options, lambda resources: operations.build_dataset(resources, name, tenant))
    answer(options, built, _show_built)


@datasets.command("list")
@optional_alias_argument
@tenant_option
@pass_options
def list_(options: Options, name: str | None, tenant: str) -> None:
    """List datasets, evaluation sets and imports, all or those of one ALIAS."""
    found = run(options, lambda resources: operations.list_datasets(resources, name, tenant))
    answer(options, found, _show_list)


@datasets.command()
@click.argument("number", metavar="DATASET", type=int)
@pass_options
def show(options: Options, number: int) -> None:
    """Show where a dataset's rows come from, and what was dropped."""
    found = run(options, lambda resources: operations.show_dataset(resources, number))
    answer(options, found, _show)


@datasets.command()
@click.argument("number", metavar="DATASET", type=int)
@click.argument("folder", type=_FOLDER)
@pass_options
def export(options: Options, number: int, folder: Path) -> None:
    """Copy a dataset's files into a new FOLDER: as trainers read them."""
    done = run(options, lambda resources: operations.export_dataset(resources, number, folder))
    answer(
        options,
        done,
        lambda body: click.echo(f"{', '.join(body['files'])} are in {body['folder']}."),
    )


def _show_imported(body: Json) -> None:
    made = body["evaluation_set"]
    if made:
        click.echo(
            f"Imported {body['file']}: evaluation set {made['number']} with {made['num_items']} "
            "items."
        )
        if body["num_learnt"]:
            click.echo(f"Left out {body['num_learnt']} rows that a serving release has learnt.")
    else:
        click.echo(
            f"Imported {body['num_rows']} rows of {body['file']}: "
            f"{body['alias']} has {body['num_training_rows']} training rows."
        )
    for missing in body["missing"]:
        click.echo(f"Still missing: {missing}.")
    if not body["missing"]:
        click.echo(f"Next: strop train {body['tenant']}/{body['alias']} --wait")


def _show_built(body: Json) -> None:
    click.echo(
        f"Dataset {body['id']}: {body['num_train']} rows to train, {body['num_valid']} to validate, "
        f"evaluation set {body['evaluation_set']}."
    )


def _show(body: Json) -> None:
    manifest = body["manifest"]
    print_facts(
        {
            "dataset": body["id"],
            "alias": f"{body['tenant']}/{body['alias']}",
            "train": body["num_train"],
            "valid": body["num_valid"],
            "evaluation set": body["evaluation_set"],
            "created": short_time(body["created_at"]),
            "digest": body["digest"],
            **{f"from {name}": count for name, count in manifest["sources"].items()},
            **{f"dropped, {name}": count for name, count in manifest["dropped"].items()},
            **manifest["files"],
        }
    )


def _show_list(body: Json) -> None:
    print_table(
        ("DATASET", "ALIAS", "TRAIN", "VALID", "EVALUATION SET", "CREATED"),
        _cells(body["datasets"], "id", "num_train", "num_valid", "evaluation_set", "created_at"),
        empty="No dataset was built yet. `strop datasets build ALIAS` or `strop train` builds one.",
    )
    click.echo()
    print_table(
        ("EVALUATION SET", "ALIAS", "ITEMS", "DATED", "ORIGIN", "CREATED"),
        _cells(body["evaluation_sets"], "number", "num_items", "dated_at", "origin", "created_at"),
        empty="There is no evaluation set. `strop datasets import ALIAS FILE --split eval` adds one.",
    )
    click.echo()
    print_table(
        ("IMPORT", "ALIAS", "FILE", "SPLIT", "ROWS", "AT", "REPLACED"),
        _cells(body["imports"], "id", "file", "split", "num_rows", "at", "replaced_at"),
        empty="Nothing was imported yet.",
    )


def _cells(rows: list[Json], first: str, *names: str) -> list[tuple[object, ...]]:
    """Return the rows of a table: the first column, the alias, the others."""
    return [
        (row[first], f"{row['tenant']}/{row['alias']}", *(_cell(name, row[name]) for name in names))
        for row in rows
    ]


def _cell(name: str, value: object) -> object:
    is_moment = name.endswith("at") and isinstance(value, str)
    return short_time(str(value)) if is_moment else value
