"""`strop doctor`: every check of this machine and this home, each fault with its mend."""

import sys

import click

from gateway.command.checks import Finding, check_machine, check_ports, fault
from gateway.command.home_checks import check_home
from gateway.command.options import Options, StropCommand, pass_options
from gateway.command.output import answer
from gateway.command.running import settings_of
from gateway.operations.resources import Json
from serving.errors import ConfigurationError
from serving.home import holder_of
from serving.settings import Settings

_MARKS = {"ok": ("ok", "green"), "note": ("note", "yellow"), "fault": ("FAULT", "red")}


@click.command(cls=StropCommand)
@pass_options
def doctor(options: Options) -> None:
    """Check this machine and this home; exit 1 if anything has to be mended."""
    findings = find_all(options)
    answer(options, {"checks": [describe_finding(found) for found in findings]}, _show)
    if any(found.is_fault for found in findings):
        sys.exit(1)


def find_all(options: Options) -> list[Finding]:
    """Run every check that makes sense here."""
    try:
        settings = settings_of(options)
    except ConfigurationError as error:
        return [fault("configuration", error.message, "Correct it, or name another --config.")]
    return [*check_machine(settings), *_ports(settings), *check_home(settings)]


def describe_finding(finding: Finding) -> Json:
    """Return a finding as callers see it; `level` is ok, note or fault."""
    level = "ok" if finding.is_ok else "fault" if finding.is_fault else "note"
    return {
        "name": finding.name,
        "level": level,
        "message": finding.message,
        "mend": finding.mend,
    }


def _ports(settings: Settings) -> list[Finding]:
    # While our own processes run, the ports are busy as they should be.
    return [] if holder_of(settings) else list(check_ports(settings))


def _show(body: Json) -> None:
    width = max(len(check["name"]) for check in body["checks"])
    for check in body["checks"]:
        mark, colour = _MARKS[check["level"]]
        click.echo(
            f"{click.style(mark.ljust(5), fg=colour)}  {check['name'].ljust(width)}  "
            f"{check['message']}"
        )
        if check["mend"]:
            click.echo(f"{'':5}  {'':{width}}  {check['mend']}")
