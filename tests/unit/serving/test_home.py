"""A home: made once, kept private, held by one `strop up`."""

import asyncio
import os
import stat
from pathlib import Path

import psycopg
import pytest

from serving.errors import ConfigurationError, ConflictError
from serving.home import (
    hold_home,
    holder_of,
    initialise_home,
    make_folders,
    private_folders,
    require_home,
    stale_holder_of,
)
from serving.routing.catalog import digest_of
from serving.settings import Settings
from serving.store.embedded import PostgresServer, database_url


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """A home that is not there yet."""
    return Settings(home=tmp_path / "home")


async def test_a_home_is_made_once(
    settings: Settings, postgres: PostgresServer, database_name: str
) -> None:
    """Keys and folders are private, the admin's key works, and a second time changes nothing."""
    url = database_url(postgres, database_name)
    await asyncio.to_thread(initialise_home, settings, url)
    key = settings.admin_key.read_text()
    await asyncio.to_thread(initialise_home, settings, url)
    assert settings.admin_key.read_text() == key
    assert [mode_of(path) for path in (settings.sign_key, settings.admin_key)] == [0o600, 0o600]
    assert {mode_of(path) for path in private_folders(settings)} == {0o700}
    with psycopg.connect(url) as connection:
        rows = connection.execute("SELECT digest, role FROM strop_key").fetchall()
    assert rows == [(digest_of(key.strip()), "admin")]


def test_an_open_folder_is_closed(settings: Settings) -> None:
    """Traffic, or what is learnt from it, that others could read is private at the next start."""
    folders = (settings.journal_dir, settings.dataset_dir, settings.run_dir)
    for folder in folders:
        folder.mkdir(parents=True, mode=0o755)
    make_folders(settings)
    assert [mode_of(folder) for folder in folders] == [0o700] * 3


def test_a_home_that_is_not_there_says_what_to_run(settings: Settings) -> None:
    """The error of a missing home names the command that makes one."""
    with pytest.raises(ConfigurationError, match="strop up"):
        require_home(settings)


def test_a_file_in_the_way_is_named(tmp_path: Path) -> None:
    """A home that cannot be a folder is refused with its path."""
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError, match="file"):
        make_folders(Settings(home=tmp_path / "file" / "home"))


def test_a_home_is_held_once(settings: Settings) -> None:
    """A second `strop up` is told who holds the home; afterwards it is free, and nothing stale."""
    with hold_home(settings) as stale:
        assert stale is None
        assert holder_of(settings) == os.getpid()
        with pytest.raises(ConflictError, match=str(os.getpid())), hold_home(settings):
            pass
    assert holder_of(settings) is None
    assert stale_holder_of(settings) is None


def mode_of(path: Path) -> int:
    """Return the permission bits of a path."""
    return stat.S_IMODE(path.stat().st_mode)
