"""`strop`: the command's table of contents, and how it ends.

Exit codes: 0 done; 1 an error, said in one line on stderr; 2 the command line itself is wrong;
128 + n ended by signal n.
With `--json` the error is on stdout too: `{"error": {"type", "code", "message"}}`.
"""

import json
import signal
import sys
import traceback
from importlib import import_module
from types import FrameType
from typing import NoReturn

import click

from gateway.command.options import StropGroup
from serving.errors import StropError

# Name -> (where it is, what it does). A command's module is imported when the command runs.
COMMANDS = {
    "up": ("gateway.command.processes:up", "Start everything on this machine and keep it running."),
    "engine": ("gateway.command.processes:engine", "Run one replica of a pool: vLLM."),
    "gateway": ("gateway.command.processes:gateway", "Run the HTTP side."),
    "worker": ("gateway.command.processes:worker", "Run ingest, the reconciler and learning."),
    "migrate": ("gateway.command.processes:migrate", "Make a home, or update its database."),
    "doctor": ("gateway.command.doctor:doctor", "Check this machine and this home."),
    "status": ("gateway.command.status:status", "Show what runs and what is served."),
    "purge": ("gateway.command.purge:purge", "Delete the oldest requests, answers and ratings."),
    "keys": ("gateway.command.keys:keys", "Make, list and revoke bearer keys."),
    "aliases": ("gateway.command.aliases:aliases", "Make, list, show and set aliases; pause."),
    "datasets": ("gateway.command.datasets:datasets", "Import, build, list and export datasets."),
    "train": ("gateway.command.runs:train", "Train an alias on what there is; the gate judges it."),
    "runs": ("gateway.command.runs:runs", "List, show and cancel training runs."),
    "reviews": ("gateway.command.reviews:reviews", "Judge a sample of answers."),
    "eval": ("gateway.command.evaluations:eval_", "Score a release on the evaluation set."),
    "adapters": ("gateway.command.adapters:adapters", "Import, list, show and verify adapters."),
    "releases": ("gateway.command.releases:releases", "List and show releases, and their lineage."),
    "promote": ("gateway.command.releases:promote", "Make a release the champion of its alias."),
    "rollback": ("gateway.command.releases:rollback", "Put the former champion back."),
    "demo": ("gateway.command.demo:demo", "Watch a model go stale and be sharpened again."),
}


class LazyGroup(StropGroup):
    """The top of the command: knows its commands by name only, so that `--help` is quick."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command called `cmd_name`."""
        if cmd_name not in COMMANDS:
            return None
        module, name = COMMANDS[cmd_name][0].split(":")
        found = getattr(import_module(module), name)
        assert isinstance(found, click.Command)
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the table of commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, about) for name, (_, about) in COMMANDS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="strop", prog_name="strop")
def strop() -> None:
    """Serve models behind one OpenAI-compatible endpoint, and sharpen them by their use."""


def main(arguments: list[str] | None = None, command: click.Command = strop) -> NoReturn:
    """Run a command and end the process with its exit code."""
    _unwind_on_signals()
    words = sys.argv[1:] if arguments is None else arguments
    is_json = "--json" in words
    try:
        sys.exit(command.main(words, prog_name=command.name, standalone_mode=False) or 0)
    except click.ClickException as error:
        # A wrong command line: click shows the usage and where help is.
        error.show()
        _end(is_json, "invalid_request_error", "usage", error.format_message(), error.exit_code)
    except (KeyboardInterrupt, click.Abort):
        _end(is_json, "server_error", "interrupted", "Interrupted.", 130)
    except StropError as error:
        click.echo(f"strop: {error.message}", err=True)
        _end(is_json, error.kind, error.code, error.message, 1)
    except Exception as error:  # noqa: BLE001 - the end of the line: said, with its traceback
        traceback.print_exc()
        message = f"{type(error).__name__}: {error}"
        click.echo(f"strop: a fault of Strop's own: {message}", err=True)
        _end(is_json, "server_error", "internal_error", message, 1)


def _unwind_on_signals() -> None:
    """Have a closed terminal and a stop end a command as an error does: PostgreSQL is let go."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup
            signal.signal(number, _leave)


def _leave(number: int, frame: FrameType | None) -> NoReturn:
    del frame
    sys.exit(128 + number)


def _end(is_json: bool, kind: str, code: str, message: str, status: int) -> NoReturn:
    if is_json:
        click.echo(json.dumps({"error": {"type": kind, "code": code, "message": message}}))
    sys.exit(status)


if __name__ == "__main__":
    main()
