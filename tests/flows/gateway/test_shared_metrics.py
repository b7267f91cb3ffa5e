"""`shared_metrics`: where the workers of a gateway add up their metrics."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.shared_metrics import shared_metrics
from monitoring.metrics import MULTIPROCESS_VARIABLE

_DYING = """
import os, signal, sys
from pathlib import Path
from gateway import shared_metrics
shared_metrics._MEMORY = Path("/nowhere")
with shared_metrics.shared_metrics(Path(sys.argv[1])):
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("memory", ["/dev/shm", "/nowhere"])  # noqa: S108 - what is asked about
def test_workers_share_metrics_where_no_full_disk_kills_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, memory: str
) -> None:
    """In memory if that can be had; theirs alone, whoever else is there, and gone with them."""
    monkeypatch.setenv(MULTIPROCESS_VARIABLE, "")
    monkeypatch.setattr("gateway.shared_metrics._MEMORY", Path(memory))
    monkeypatch.setattr("gateway.shared_metrics._SESSIONS", Path("/nowhere"))
    with shared_metrics(tmp_path) as leaving:
        (leaving / "counter_1.db").touch()
        with shared_metrics(tmp_path) as folder:
            assert folder.is_relative_to(tmp_path) == (memory == "/nowhere")
            assert folder.stat().st_mode & 0o777 == 0o700
            assert list(folder.iterdir()) == []
        assert not folder.exists()
        assert (leaving / "counter_1.db").exists()


def test_what_a_killed_gateway_left_is_removed_by_the_next_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An hour later; not the folder of one that runs for so long, nor one that was just made."""
    monkeypatch.setenv(MULTIPROCESS_VARIABLE, "")
    monkeypatch.setattr("gateway.shared_metrics._MEMORY", Path("/nowhere"))
    dying = subprocess.run([sys.executable, "-c", _DYING, str(tmp_path)], check=False)
    assert dying.returncode == -signal.SIGKILL
    (left,) = tmp_path.iterdir()
    with shared_metrics(tmp_path) as running:
        for folder in (left, running):
            an_hour_ago = folder.stat().st_mtime - 3600
            os.utime(folder, (an_hour_ago, an_hour_ago))
        (tmp_path / "strop-metrics-new").mkdir()
        (tmp_path / "strop-metrics-loop").symlink_to("strop-metrics-loop")
        (tmp_path / "strop-metrics-of-others").symlink_to(running)
        with shared_metrics(tmp_path):
            assert not left.exists()
            assert running.exists()
            assert (tmp_path / "strop-metrics-new").exists()


def test_memory_that_goes_with_a_persons_last_session_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A gateway may outlive it; a service's user has none."""
    monkeypatch.setenv(MULTIPROCESS_VARIABLE, "")
    (memory := tmp_path / "memory").mkdir()
    (home := tmp_path / "home").mkdir()
    monkeypatch.setattr("gateway.shared_metrics._MEMORY", memory)
    monkeypatch.setattr("gateway.shared_metrics._SESSIONS", tmp_path)
    for user, parent in ((1000, home), (999, memory)):
        monkeypatch.setattr("os.getuid", lambda user=user: user)
        with shared_metrics(home) as folder:
            assert folder.parent == parent
