"""Configuration: environment over file over defaults, and no key that nobody knows."""

from datetime import timedelta
from pathlib import Path

import pytest

from serving.errors import ConfigurationError
from serving.sections import EngineSettings, GatewaySettings, PoolSettings, StoreSettings
from serving.settings import Settings, load_settings
from serving.types import PoolKind


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The path of a strop.toml that is not there yet, in the current folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path / "strop.toml"


def test_nothing_has_to_be_configured(config: Path) -> None:
    """An empty folder has defaults: loopback, port 8080, embedded database, one pool."""
    assert not config.exists()
    settings = load_settings()
    assert (settings.gateway.host, settings.gateway.port) == ("127.0.0.1", 8080)
    assert settings.store.url == ""
    assert settings.home == config.parent / ".strop"
    assert [pool.name for pool in settings.all_pools] == ["default"]


@pytest.mark.parametrize(
    ("retention_days", "most"), [(None, 90.0), (30, 30.0), (365, 90.0), (90, 90.0)]
)
def test_a_rating_may_be_as_late_as_both_say(retention_days: int | None, most: float) -> None:
    """`gateway.feedback_max_age_days`, and never later than inferences are kept."""
    settings = Settings(store=StoreSettings(retention_days=retention_days))
    assert settings.max_rating_age == timedelta(days=most)


def test_the_environment_wins_over_the_file(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Key by key: what only the file says stays."""
    config.write_text('[gateway]\nport = 9000\nhost = "0.0.0.0"\n')
    monkeypatch.setenv("STROP_GATEWAY__PORT", "9001")
    monkeypatch.setenv("STROP_ENGINE__URLS", '["http://a:8100"]')
    settings = load_settings()
    assert (settings.gateway.port, settings.gateway.host) == (9001, "0.0.0.0")  # noqa: S104 - only read back
    assert settings.engine.urls == ("http://a:8100",)


def test_a_caller_wins_over_all(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the command line says goes before environment and file."""
    monkeypatch.setenv("STROP_HOME", "/from/environment")
    assert load_settings().home == Path("/from/environment")
    assert load_settings(home=config.parent / "here").home == config.parent / "here"


def test_a_file_can_be_named(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """--config before $STROP_CONFIG before ./strop.toml; a named one has to be there."""
    files = {}
    for port, name in ((1001, "strop.toml"), (1002, "environment.toml"), (1003, "argument.toml")):
        files[port] = config.parent / name
        files[port].write_text(f"[gateway]\nport = {port}\n")
    assert load_settings().gateway.port == 1001
    monkeypatch.setenv("STROP_CONFIG", str(files[1002]))
    assert load_settings().gateway.port == 1002
    assert load_settings(files[1003]).gateway.port == 1003
    with pytest.raises(ConfigurationError, match=r"missing\.toml does not exist.*--config"):
        load_settings(config.parent / "missing.toml")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[gateway]\nprot = 1", r"gateway\.prot"),
        ("[gatevay]\nport = 1", "gatevay"),
        ("[[pools]]\nname = 'a'\nreplica = 2", r"pools\.0\.replica"),
        ("[gateway]\nport = 70000", r"gateway\.port.*65535"),
        ("[engine]\nmax_loras = 9", r"engine\.max_loras"),
        ("[[pools]]\nname = 'a'\nmax_lora_rank = 12", "max_lora_rank must be one of"),
        ("[[pools]]\nname = 'A b'", r"pools\.0\.name"),
        ("[journal]\ndurability = 'hope'", r"journal\.durability"),
        ("[gateway\nport = 1", "cannot be read"),
        ("[engine]\nmax_lora_rank = 17", "max_lora_rank must be one of"),
        ("[[pools]]\nname = 'a'\n[[pools]]\nname = 'a'\nserved_name = 'b'", "have the name 'a'"),
        ("[[pools]]\nname = 'a'\n[[pools]]\nname = 'b'", "have the served_name 'base'"),
        (
            "[engine]\nbase_model = '/m'\n[[pools]]\nname = 'a'",
            "base_model would count for nothing",
        ),
        (
            "[gateway]\nworkers = 2\n[journal]\nmax_bytes = 1048576",
            r"journal\.max_bytes.*268435456",
        ),
        ("[engine]\nbase_model = '~nobody-of-that-name/m'", r"engine\.base_model"),
        ("[engine]\nurls = ['http://me:secret@gpu']", r"engine\.urls\.0: .*no engine's address"),
        ("[[pools]]\nname = 'a'\nurls = ['gpu:8000']", r"pools\.0\.urls\.0: .*no engine's address"),
        ("[engine]\nurls = ['http://gpu?token=secret']", r"engine\.urls\.0: .*no query"),
    ],
)
def test_a_wrong_key_is_told_by_its_name(config: Path, text: str, words: str) -> None:
    """And the file that it stands in."""
    config.write_text(text)
    with pytest.raises(ConfigurationError, match=words) as caught:
        load_settings()
    assert "strop.toml" in caught.value.message
    assert "secret" not in f"{caught.value!r} {caught.value.__cause__}"


def test_a_wrong_variable_is_told_by_its_name(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A key of a section that it does not have is refused from the environment as well."""
    assert not config.exists()
    monkeypatch.setenv("STROP_GATEWAY__PROT", "1")
    with pytest.raises(ConfigurationError, match=r"gateway\.prot"):
        load_settings()
    monkeypatch.delenv("STROP_GATEWAY__PROT")
    monkeypatch.setenv("STROP_GATEVAY__PORT", "1")
    with pytest.raises(ConfigurationError, match="STROP_GATEVAY__PORT names no section"):
        load_settings()


def test_variables_of_others_may_begin_like_ours(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kubernetes sets such for a service called `strop`; the key of an upstream may be one."""
    assert not config.exists()
    monkeypatch.setenv("STROP_PORT_80_TCP", "tcp://10.0.0.1:80")
    monkeypatch.setenv("STROP_UPSTREAM_KEY", "secret")
    assert load_settings().gateway.port == 8080


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("::", "http://[::1]:8080"),
        ("fe80::1", "http://[fe80::1]:8080"),
        ("here", "http://here:8080"),
    ],
)
def test_an_address_can_be_opened(host: str, expected: str) -> None:
    """An IPv6 address stands in brackets in a URL."""
    assert GatewaySettings(host=host).near_url == expected


def test_a_base_model_may_lie_in_the_users_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file knows no shell that would put the folder for `~`."""
    monkeypatch.setenv("HOME", "/a/user")
    assert EngineSettings(base_model="~/m").base_model == "/a/user/m"
    assert PoolSettings(name="a", base_model="~/m").base_model == "/a/user/m"


def test_settings_are_handed_on_whole(config: Path) -> None:
    """A gateway's workers get them as JSON, every default written out."""
    config.write_text("[[pools]]\nname = 'a'\n")
    settings = load_settings()
    assert Settings.model_validate_json(settings.model_dump_json()).all_pools == settings.all_pools


def test_the_short_form_is_a_pool(config: Path) -> None:
    """`engine.*` describes the one pool `default`, unless the file has pools."""
    config.write_text('[engine]\nbase_model = "/m"\nserved_name = "llama"\nmax_loras = 2\n')
    [pool] = load_settings().all_pools
    assert (pool.name, pool.base_model, pool.served_name) == ("default", "/m", "llama")
    assert (pool.max_loras, pool.is_launched_here) == (2, True)
    config.write_text('[[pools]]\nname = "big"\n')
    assert [pool.name for pool in load_settings().all_pools] == ["big"]


def test_a_pool_is_found_by_its_name() -> None:
    """An unknown one is refused with the names that there are."""
    large = PoolSettings(name="large", served_name="large")
    settings = Settings(pools=(PoolSettings(name="small"), large))
    assert settings.pool("large").name == "large"
    with pytest.raises(ConfigurationError, match="small, large"):
        settings.pool("huge")


@pytest.mark.parametrize(
    ("kind", "urls", "expected"),
    [
        (PoolKind.VLLM, (), True),
        (PoolKind.VLLM, ("http://a",), False),
        (PoolKind.OPENAI, ("http://a",), False),
        (PoolKind.OPENAI, (), False),
    ],
)
def test_only_engines_without_an_address_are_started_here(
    kind: PoolKind, urls: tuple[str, ...], expected: bool
) -> None:
    """A URL means that somebody else runs it."""
    assert PoolSettings(name="a", kind=kind, urls=urls).is_launched_here is expected


def test_a_home_is_absolute(config: Path) -> None:
    """Children with another current folder agree on it."""
    settings = load_settings(home="relative")
    assert settings.home == config.parent / "relative"
    folders = (settings.journal_dir, settings.adapter_dir, settings.log_dir)
    assert {folder.parent for folder in folders} == {settings.home}
