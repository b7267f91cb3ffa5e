"""What `make run` adds to `strop up`: which configuration it reads, its alias, its five lines."""

from pathlib import Path

import pytest

from deploy.demo.run import ALIAS, HERE, TENANT, greeting, make_alias, run, serves_demo
from gateway.command.main import main
from gateway.operations import aliases
from gateway.operations.resources import Resources
from serving.fleet.memory import MemoryEngine
from serving.sections import EngineSettings
from serving.settings import Settings
from serving.store.database import Database

URL = "http://engine"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """The demo's base model on one engine."""
    engine = EngineSettings(base_model=str(HERE / "base"), urls=(URL,))
    return Settings(home=tmp_path / "home", engine=engine)


async def test_a_first_run_serves_the_demos_adapter_and_a_second_changes_nothing(
    database: Database, settings: Settings
) -> None:
    """The alias is made, the adapter is loaded and promoted, each of them once."""
    engine = MemoryEngine(URL)
    resources = Resources(database, settings, {"default": (engine,)})
    for _ in range(2):
        await make_alias(resources)
        alias = await aliases.show_alias(resources, ALIAS, TENANT)
        assert [flip["to"] for flip in alias["promotions"]] == [alias["champion"]["number"]]
        assert list(await engine.list_adapters()) == [alias["champion"]["adapter"]]


def test_the_lines_name_the_configuration_that_commands_have_to_read(settings: Settings) -> None:
    """`strop` finds ./strop.toml by itself; any other file is named."""
    *_, ask, found = greeting(settings, Path("strop.toml"))
    assert f'"model": "{ALIAS}"' in ask
    assert "--config" not in found
    assert (
        "strop --config deploy/demo/strop.toml status"
        in greeting(settings, HERE / "strop.toml")[-1]
    )


def test_a_base_model_of_ones_own_is_asked_by_its_served_name(settings: Settings) -> None:
    """The demo's adapter fits the demo's base only, so there is no demo alias on another."""
    own = Settings(home=settings.home, engine=EngineSettings(base_model="org/m", served_name="own"))
    assert not serves_demo(own)
    *_, ask, next_step = greeting(own, Path("strop.toml"))
    assert '"model": "own"' in ask
    assert ALIAS not in ask + next_step


@pytest.mark.parametrize("is_named", [False, True])
def test_the_configuration_beside_you_comes_before_the_demos(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    is_named: bool,
) -> None:
    """./strop.toml and $STROP_CONFIG count as for every command: here both hold a wrong key."""
    monkeypatch.chdir(tmp_path)
    config = tmp_path / ("mine.toml" if is_named else "strop.toml")
    config.write_text("mine = 1\n")
    if is_named:
        monkeypatch.setenv("STROP_CONFIG", str(config))
    with pytest.raises(SystemExit):
        main([], command=run)
    assert config.name in capsys.readouterr().err
