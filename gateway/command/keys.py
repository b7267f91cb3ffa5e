"""`strop keys`: make, list, show, set and revoke bearer keys."""

from typing import Any

import click

from gateway.command.options import Function, Options, StropGroup, pass_options
from gateway.command.output import answer, print_facts, print_table, short_time
from gateway.command.running import run
from gateway.operations import keys as operations
from gateway.operations.resources import Json
from gateway.policy.exceptions import FieldChange
from serving.routing.catalog import Quota
from serving.types import Role

_LIMITS = {
    "rpm": "Requests a minute.",
    "tpm": "Tokens a minute, of prompts and answers together.",
    "concurrency": "Requests at once.",
    "budget": "Tokens a calendar month (UTC).",
}


_ROLES = click.Choice([role.value for role in Role])


@click.group(cls=StropGroup)
def keys() -> None:
    """Make, list, show, set and revoke bearer keys."""


def _limit_options(function: Function) -> Function:
    for name, words in reversed(_LIMITS.items()):
        function = click.option(f"--{name}", type=int, help=words)(function)
    return function


class _Bound(click.ParamType[tuple[str, int | float]]):
    """FIELD=NUMBER."""

    name = "FIELD=NUMBER"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, int | float]:
        field, _, number = str(value).partition("=")
        try:
            high = float(number)
        except ValueError:
            self.fail(f"{value!r} is no FIELD=NUMBER, such as n=2.", param, ctx)
        return field, int(high) if high.is_integer() else high


def _field_options(function: Function) -> Function:
    for name, words in (
        ("forbid", "A field that it may not send, though others may."),
        ("allow", "A field that it may send, though others may not."),
    ):
        function = click.option(f"--{name}", multiple=True, metavar="FIELD", help=words)(function)
    words = (
        "The most of a field, in place of the usual; max_tokens is that of every dialect, schemas "
        "that of different JSON schemas an hour."
    )
    return click.option("--most", type=_Bound(), multiple=True, help=words)(function)


def _field_change(given: dict[str, Any]) -> FieldChange | None:
    """Take what is said of fields out of what is given; None: nothing."""
    most = dict(given.pop("most"))
    names = {name: frozenset(given.pop(name, ())) for name in ("allow", "forbid", "usual")}
    return FieldChange(most=most, **names) if most or any(names.values()) else None


@keys.command()
@click.option("--role", type=_ROLES, required=True)
@click.option("--tenant", default="default", show_default=True, help="Whose key it is.")
@click.option("--name", required=True, help="What people recognise it by.")
@click.option(
    "--alias", "aliases", multiple=True, help="One that it may call; default: all of its tenant's."
)
@_limit_options
@_field_options
@click.option("--no-log", is_flag=True, help="Do not record its requests.")
@click.option("--no-train", is_flag=True, help="Record its requests, never train on them.")
@pass_options
def create(options: Options, /, role: str, **given: Any) -> None:
    """Make a key. Its text is printed once and kept nowhere."""
    quota = Quota(**{name: given.pop(name) for name in _LIMITS})
    fields = _field_change(given)
    made = run(
        options,
        lambda resources: operations.create_key(
            resources, role=Role(role), quota=quota, fields=fields, **given
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
def show(options: Options, key_id: str) -> None:
    """Show a key: what it may, and what it used."""
    answer(options, run(options, lambda resources: operations.show_key(resources, key_id)), _show)


@keys.command("set")
@click.argument("key_id", metavar="ID")
@click.option("--role", type=_ROLES, help="What it may do.")
@click.option("--name", help="What people recognise it by.")
@click.option("--alias", "aliases", multiple=True, help="One that it may call, in place of others.")
@click.option("--any-alias", is_flag=True, help="It may call all of its tenant's.")
@_limit_options
@_field_options
@click.option("--usual", multiple=True, metavar="FIELD", help="One that is not special any more.")
@click.option("--no-log/--log", default=None, help="Whether its requests are recorded.")
@click.option("--no-train/--train", default=None, help="Whether what is recorded is trained on.")
@pass_options
def set_(
    options: Options,
    /,
    key_id: str,
    role: str | None,
    aliases: tuple[str, ...],
    any_alias: bool,
    **given: Any,
) -> None:
    """Change what is given; a limit of 0 takes it away. A key stays its tenant's."""
    limits = {name: given.pop(name) for name in _LIMITS}
    fields = _field_change(given)
    changed = run(
        options,
        lambda resources: operations.set_key(
            resources,
            key_id,
            role=Role(role) if role else None,
            aliases=() if any_alias else aliases or None,
            limits={name: value for name, value in limits.items() if value is not None},
            fields=fields,
            **given,
        ),
    )
    answer(options, changed, _show)


@keys.command()
@click.argument("key_id", metavar="ID")
@pass_options
def revoke(options: Options, key_id: str) -> None:
    """Revoke a key: every gateway worker refuses it within a second."""
    revoked = run(options, lambda resources: operations.revoke_key(resources, key_id))
    answer(options, revoked, lambda key: click.echo(f"Key {key['id']} ({key['name']}) is revoked."))


def _show_new(key: Json) -> None:
    _show(key)
    click.echo("Keep it now: it is not shown again.", err=True)


def _show(key: Json) -> None:
    names = ("id", "role", "tenant", "name", *_LIMITS, "tokens_this_month", "revoked_at", "key")
    facts = {name: key.get(name) for name in names}
    aliases, special = _join(key["aliases"]), _special(key["exceptions"])
    recorded = {"no_log": key["no_log"] or None, "no_train": key["no_train"] or None}
    print_facts({**facts, **recorded, "aliases": aliases, "fields": special})


def _show_list(body: Json) -> None:
    columns = ("id", "role", "tenant", "name", *_LIMITS, "tokens_this_month")
    print_table(
        (
            *(name.replace("_", " ").upper() for name in columns),
            "ALIASES",
            "FIELDS",
            "CREATED",
            "REVOKED",
        ),
        [
            (
                *(key[name] for name in columns),
                _join(key["aliases"]),
                _special(key["exceptions"]),
                short_time(key["created_at"]),
                short_time(key["revoked_at"]),
            )
            for key in body["keys"]
        ],
        empty="There are no keys. `strop keys create --role app --name NAME` makes one.",
    )


def _special(exceptions: Json | None) -> str | None:
    """Say in short what is special about a key's fields: `+priority -tools n<=2`."""
    if exceptions is None:
        return None
    allowed = [f"+{name}" for name in exceptions["allowed"]]
    forbidden = [f"-{name}" for name in exceptions["forbidden"]]
    bounds = [f"{name}<={high}" for name, high in exceptions["most"].items()]
    return " ".join((*allowed, *forbidden, *bounds))


def _join(aliases: list[str] | None) -> str | None:
    return None if aliases is None else ", ".join(aliases)
