"""The command as such: its options, its errors, its exit codes."""

import json
from pathlib import Path

import click
import pytest

from gateway.command import main as command
from gateway.command.main import COMMANDS, strop


def run(*words: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    """Run the command in this process; return exit code, stdout, stderr."""
    with pytest.raises(SystemExit) as ended:
        command.main(list(words))
    output = capsys.readouterr()
    return int(ended.value.code or 0), output.out, output.err


def test_every_command_takes_the_shared_options() -> None:
    """`--config` and `--json` stand before or after any command's name."""
    context = click.Context(strop)
    for name in COMMANDS:
        found = strop.get_command(context, name)
        assert found is not None
        verbs = [found, *(found.commands.values() if isinstance(found, click.Group) else ())]
        for verb in verbs:
            assert {"config", "json"} <= {parameter.name for parameter in verb.params}, verb.name


@pytest.mark.parametrize("words", [["--json", "status"], ["status", "--json"]])
def test_an_error_is_one_line_and_with_json_one_object(
    words: list[str],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """Exit 1; stderr has one line; stdout has type, code and message."""
    monkeypatch.setenv("STROP_HOME", str(tmp_path / "none"))
    code, out, err = run(*words, capsys=capsys)
    assert code == 1
    assert err.count("\n") == 1
    assert "strop up" in err
    error = json.loads(out)["error"]
    assert error["type"] == "invalid_request_error"
    assert error["code"] == "configuration"
    assert error["message"] in err


@pytest.mark.parametrize(
    "words", [["nothing"], ["keys", "create"], ["promote", "support", "first"], ["up", "--what"]]
)
def test_a_wrong_command_line_is_exit_2(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Usage errors are told apart from faults of the thing itself."""
    code, out, err = run(*words, "--json", capsys=capsys)
    assert code == 2
    assert json.loads(out)["error"]["code"] == "usage"
    assert "Usage: strop" in err


def test_a_missing_configuration_is_named(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """A `--config` that is not there is an error with its path."""
    code, _, err = run("aliases", "list", "--config", str(tmp_path / "my.toml"), capsys=capsys)
    assert code == 1
    assert "my.toml" in err


def test_a_fault_of_our_own_shows_where(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What nobody foresaw comes with its traceback, and still with exit 1 and an object."""

    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError("unforeseen")

    monkeypatch.setattr(strop, "main", fail)
    code, out, err = run("status", "--json", capsys=capsys)
    assert code == 1
    assert "Traceback" in err
    assert json.loads(out)["error"]["code"] == "internal_error"
