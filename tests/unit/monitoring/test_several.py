"""Several workers' metrics: those that live are read, those that have ended are kept in one file."""

import os
from collections import namedtuple
from pathlib import Path

import pytest
from prometheus_client.mmap_dict import MmapedDict, mmap_key

from monitoring.several import render_all, tidy

ENDED = 2**22 + 1  # more than any process's id


def write(folder: Path, kind: str, owner: int | str, name: str, value: float) -> None:
    """Write a number as a worker does."""
    numbers = MmapedDict(str(folder / f"{kind}_{owner}.db"))  # type: ignore[no-untyped-call]
    key = mmap_key("strop_x", name, ["a"], ["b"], "Help.")
    numbers.write_value(key, numbers.read_value(key)[0] + value, 0.0)
    numbers.close()


def files_in(folder: Path) -> set[str]:
    """Return the names of the files with numbers."""
    return {path.name for path in folder.glob("*.db")}


def test_what_ended_workers_counted_stays_in_one_file(tmp_path: Path) -> None:
    """However many there were; what they had in flight is gone."""
    living = os.getpid()
    for number in range(1, 4):
        write(tmp_path, "counter", ENDED, "strop_x_total", 1)
        write(tmp_path, "counter", living, "strop_x_total", 10)
        write(tmp_path, "gauge_livesum", ENDED, "strop_x", 1)
        write(tmp_path, "gauge_mostrecent", ENDED, "strop_x", 1)
        (tmp_path / f"histogram_{ENDED}.db").touch()
        assert f'strop_x_total{{a="b"}} {number * 11}.0' in render_all(tmp_path).decode()
        assert files_in(tmp_path) == {"counter_ended.db", f"counter_{living}.db"}


def test_where_there_is_no_room_both_files_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To write into a hole of a full disk would kill; what was counted is still read."""
    write(tmp_path, "counter", ENDED, "strop_x_total", 1)
    usage = namedtuple("usage", "free")
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage(free=0))
    tidy(tmp_path)
    assert files_in(tmp_path) == {f"counter_{ENDED}.db"}
    assert 'strop_x_total{a="b"} 1.0' in render_all(tmp_path).decode()


def test_a_folder_that_is_gone_is_no_fault_of_requests(tmp_path: Path) -> None:
    """It is logged, and a worker goes on."""
    tidy(tmp_path / "gone")
