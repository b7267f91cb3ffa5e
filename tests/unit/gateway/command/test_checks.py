"""The doctor's checks: each fault is found, and comes with its mend."""

import os
import shutil
import socket
import time
from pathlib import Path

import msgspec
import psycopg
import pytest

from gateway.command import checks, home_checks
from gateway.command.known_faults import explain, find_mend
from gateway.command.up import refuse_faults
from serving.errors import ConfigurationError
from serving.home import hold_home, make_folders
from serving.ids import make_sign_key
from serving.journal.frames import pack
from serving.journal.records import MAGIC
from serving.sections import EngineSettings, PoolSettings
from serving.settings import Settings
from serving.store.embedded import PostgresServer, database_url
from tests.journal import make_begin, make_feedback


@pytest.mark.parametrize(("version", "is_fault"), [((3, 10), True), ((3, 11), False)])
def test_an_old_python_is_a_fault(version: tuple[int, int], is_fault: bool) -> None:
    """Python has to be 3.11 or newer."""
    assert checks.check_python(version).is_fault is is_fault


def test_a_busy_port_names_who_has_it() -> None:
    """The fault of a busy port says which process listens there, and which key to set."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        found = checks.check_port("gateway.port", "127.0.0.1", port)
        assert found.is_fault
        assert str(os.getpid()) in found.message
        assert "STROP_GATEWAY__PORT" in (found.mend or "")
    assert checks.check_port("gateway.port", "127.0.0.1", port).is_ok


@pytest.mark.parametrize(
    ("base_model", "words"),
    [("", "no base model"), ("./nowhere", "is not there"), ("some/hub-name", "")],
)
def test_a_base_model_is_looked_at(base_model: str, words: str) -> None:
    """None at all and a missing folder are faults; a hub name is left to the engine."""
    found = checks.check_base_model(PoolSettings(name="p", base_model=base_model))
    assert found.is_fault is bool(words)
    assert words in found.message


def test_a_model_folder_needs_three_things(tmp_path: Path) -> None:
    """Configuration, weights and tokenizer; whatever is missing is named."""
    pool = PoolSettings(name="p", base_model=str(tmp_path))
    (tmp_path / "config.json").touch()
    assert "weights" in checks.check_base_model(pool).message
    for name in ("model-00001-of-00002.safetensors", "tokenizer.json"):
        (tmp_path / name).touch()
    assert checks.check_base_model(pool).is_ok


@pytest.mark.parametrize(
    ("torch", "torchvision", "is_fault"),
    [
        ("2.13.0+cpu", "0.28.0", True),
        ("2.13.0+cpu", "0.28.0+cpu", False),
        ("2.13.0+cpu", None, False),
        ("2.13.0", "0.28.0", False),
    ],
)
def test_a_torchvision_of_another_build_is_a_fault(
    torch: str, torchvision: str | None, is_fault: bool
) -> None:
    """vLLM would fail on it with `torchvision::nms`: the mend is to uninstall it."""
    found = checks.check_torchvision(torch, torchvision)
    assert found.is_fault is is_fault
    assert not is_fault or "pip uninstall" in (found.mend or "")


def test_too_little_memory_is_a_fault() -> None:
    """Replicas with large caches do not fit; the fault says how much is needed."""
    engine = EngineSettings(base_model="hub/name", kv_cache_gib=100_000)
    found = checks.check_memory(Settings(engine=engine))
    assert found.is_fault
    assert "GiB" in found.message


def test_too_little_disk_is_a_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk is named by the folder that is there, even if the home is not yet."""
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=10))
    found = checks.check_disk(tmp_path / "not" / "yet")
    assert found.is_fault
    assert str(tmp_path) in found.message


def test_a_secret_that_others_can_read_is_a_fault(tmp_path: Path) -> None:
    """Keys are 0600 and the journal 0700; tighter is fine."""
    secret = tmp_path / "admin.key"
    assert home_checks.check_mode("admin.key", secret, 0o600).is_fault
    secret.touch(mode=0o600)
    assert home_checks.check_mode("admin.key", secret, 0o600).is_ok
    secret.chmod(0o640)
    found = home_checks.check_mode("admin.key", secret, 0o600)
    assert found.is_fault
    assert found.mend == f"chmod 600 {secret}"


def test_a_broken_sign_key_is_a_fault(tmp_path: Path) -> None:
    """A sign.key that nobody can read as one would make every id unknown."""
    path = tmp_path / "sign.key"
    path.write_text("nonsense")
    assert home_checks.check_sign_key(path).is_fault
    path.unlink()
    make_sign_key(path)
    assert home_checks.check_sign_key(path).is_ok


def test_a_stale_lock_is_recognised(tmp_path: Path) -> None:
    """What a killed `strop up` left is worth a note and stops nobody; a living one is fine."""
    settings = Settings(home=tmp_path)
    make_folders(settings)
    assert home_checks.check_lock(settings).is_ok
    (tmp_path / "up.lock").write_text("4000000\n")
    found = home_checks.check_lock(settings)
    assert not found.is_ok
    assert not found.is_fault
    assert "4000000" in found.message
    with hold_home(settings):
        assert home_checks.check_lock(settings).is_ok


def test_a_start_is_refused_with_every_fault() -> None:
    """Faults are said together, each with its mend; notes stop nobody."""
    refuse_faults([checks.ok("a", "fine"), checks.note("b", "by the way")])
    faults = [checks.fault("c", "Wrong.", "Do this."), checks.fault("d", "Broken.", "Do that.")]
    with pytest.raises(ConfigurationError, match=r"Wrong\. Do this\. Broken\. Do that\."):
        refuse_faults(faults)


@pytest.mark.parametrize(
    ("log", "mend"),
    [
        ("RuntimeError: operator torchvision::nms does not exist", "pip uninstall"),
        ("ModuleNotFoundError: No module named 'vllm'", "not installed"),
        ("OSError: [Errno 98] Address already in use", "engine.port"),
        ("all is well", None),
    ],
)
def test_known_faults_of_an_engine_get_their_mend(log: str, mend: str | None) -> None:
    """What an engine's log says about a known fault is turned into what to do."""
    found = find_mend(log)
    assert (mend is None and found is None) or (found is not None and str(mend) in found)


def test_the_error_of_a_dead_engine_gains_the_mend(tmp_path: Path) -> None:
    """The log that the error names is read; another child's log says nothing about it."""
    log = tmp_path / "engine-default-0.log"
    log.write_text("RuntimeError: operator torchvision::nms does not exist\n")
    (tmp_path / "gateway.log").write_text("Address already in use\n")
    error = ConfigurationError(f"engine ended. The whole log: {log}.", code="start_failed")
    assert "pip uninstall" in explain(error, tmp_path).message
    other = ConfigurationError("something else")
    assert explain(other, tmp_path) is other


def test_the_doctor_reads_the_logs_of_engines(tmp_path: Path) -> None:
    """A known fault of the last start is a fault with its mend; while `strop up` runs, a note."""
    settings = Settings(home=tmp_path)
    settings.log_dir.mkdir(parents=True)
    (settings.log_dir / "engine-default-0.log").write_text("OSError: Address already in use\n")
    (settings.log_dir / "engine-default-1.log").write_text("all is well\n")
    taken, fine = home_checks.check_engine_logs(settings)
    assert taken.is_fault
    assert "engine.port" in str(taken.mend)
    assert fine.is_ok
    with hold_home(settings):
        taken, _ = home_checks.check_engine_logs(settings)
    assert not taken.is_fault
    assert "engine.port" in taken.message


def test_the_doctor_names_what_the_journal_could_not_store(
    postgres: PostgresServer, database_name: str, tmp_path: Path
) -> None:
    """What waits for long, what was set aside, and what was rejected, each with its mend."""
    url = database_url(postgres, database_name)
    with psycopg.connect(url) as connection:
        (nothing,) = home_checks.check_journal(connection, tmp_path)
        assert nothing.is_ok
        hour_ago = round((time.time() - 3600) * 1000)
        old = msgspec.msgpack.encode(make_feedback(make_begin(), given_at_ms=hour_ago))
        (tmp_path / "w-1.000001.journal").write_bytes(MAGIC + pack(old))
        (tmp_path / "w-1.000000.journal.damaged").touch()
        (tmp_path / "rejected").mkdir()
        (tmp_path / "rejected" / "w-1.000007.journal").touch()
        waits, damaged, rejected = home_checks.check_journal(connection, tmp_path)
    assert (waits.is_ok, waits.is_fault) == (False, False)
    assert "the oldest for 36" in waits.message
    assert ("1 segments" in damaged.message, "1 files" in rejected.message) == (True, True)
    assert damaged.is_fault
    assert rejected.is_fault
