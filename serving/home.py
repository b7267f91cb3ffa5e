"""STROP_HOME: its folders, its secrets, and which `strop up` holds it."""

import asyncio
import fcntl
import os
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from serving.errors import ConfigurationError, ConflictError
from serving.ids import make_sign_key, write_secret
from serving.settings import Settings
from serving.store import schema
from serving.store.database import Database
from serving.store.keys import create_key
from serving.types import Role

# Private to us, but others may pass through: as root, PostgreSQL runs as a user of its own.
_HOME_MODE = 0o711
_PRIVATE_MODE = 0o700
# `strop status` looks at the lock for an instant; it must not turn a start away.
_HOLD_SECONDS = 1.0


def initialise_home(settings: Settings, url: str) -> None:
    """Make a home ready, or bring an older one up to date; several may call it at once.

    Runs an event loop of its own: not for use inside one.

    Raises:
        ConfigurationError: a newer Strop has migrated the database, or the folder is not ours.
    """
    make_folders(settings)
    with _open_lock(settings.home / "init.lock") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        schema.migrate(url)
        make_sign_key(settings.sign_key)
        if not settings.admin_key.exists():
            asyncio.run(_make_admin_key(settings.admin_key, url))


def make_folders(settings: Settings) -> None:
    """Create the folders of a home; traffic, what is learnt from it, and logs are their owner's.

    Raises:
        ConfigurationError: a folder cannot be made.
    """
    try:
        settings.home.mkdir(mode=_HOME_MODE, parents=True, exist_ok=True)
        settings.adapter_dir.mkdir(exist_ok=True)
        for folder in private_folders(settings):
            folder.mkdir(mode=_PRIVATE_MODE, exist_ok=True)
            folder.chmod(_PRIVATE_MODE)
    except OSError as error:
        raise ConfigurationError(
            f"The home {settings.home} cannot be made: {error}. Set STROP_HOME to a folder of yours."
        ) from error


def private_folders(settings: Settings) -> tuple[Path, ...]:
    """Return the folders that hold what people wrote: nobody else looks into them."""
    return (settings.journal_dir, settings.dataset_dir, settings.run_dir, settings.log_dir)


def require_home(settings: Settings) -> None:
    """Refuse to work on a home that nobody has initialised.

    Raises:
        ConfigurationError: says what to run first.
    """
    if not settings.sign_key.is_file():
        raise ConfigurationError(
            f"There is no Strop home in {settings.home} yet. Run `strop up` (or `strop migrate`) "
            "first, or point STROP_HOME or --config at an existing one."
        )


@contextmanager
def hold_home(settings: Settings) -> Generator[int | None]:
    """Hold the home for one `strop up`.

    Yields:
        The pid of an earlier holder that was killed before it could let go, else None.

    Raises:
        ConflictError: another one holds it; names its pid.
    """
    make_folders(settings)
    with _open_lock(_up_lock(settings)) as lock:
        if not _try_lock(lock, _HOLD_SECONDS):
            raise ConflictError(
                f"`strop up` runs already on {settings.home}, as process {_read_pid(lock)}. "
                "Stop it, or choose another STROP_HOME and gateway.port.",
                code="already_running",
            )
        stale = _read_pid(lock)
        _write_pid(lock, os.getpid())
        try:
            yield stale
        finally:
            _write_pid(lock, None)


def holder_of(settings: Settings) -> int | None:
    """Return the pid of the `strop up` that runs on this home, None where none does."""
    return _read_up_lock(settings)[0]


def stale_holder_of(settings: Settings) -> int | None:
    """Return the pid that a killed `strop up` left in its lock, None where there is none."""
    return _read_up_lock(settings)[1]


def _read_up_lock(settings: Settings) -> tuple[int | None, int | None]:
    """Return the pids of (a living, a dead) holder; at most one of them is set."""
    try:
        lock = _up_lock(settings).open()
    except FileNotFoundError:
        return None, None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return _read_pid(lock), None
        return None, _read_pid(lock)


def _up_lock(settings: Settings) -> Path:
    return settings.home / "up.lock"


def _open_lock(path: Path) -> IO[str]:
    # Never unlinked: a second process could lock the new file while the first holds the old one.
    return os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o644), "r+")


def _try_lock(lock: IO[str], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.05)
        else:
            return True


def _read_pid(lock: IO[str]) -> int | None:
    lock.seek(0)
    text = lock.read().strip()
    return int(text) if text.isdecimal() else None


def _write_pid(lock: IO[str], pid: int | None) -> None:
    lock.seek(0)
    lock.truncate()
    lock.write(f"{pid}\n" if pid else "")
    lock.flush()


async def _make_admin_key(path: Path, url: str) -> None:
    """Write the key's text only after its row is in: a key in the file always works."""
    database = Database.connect(url, pool_size=1)
    try:
        async with database.session() as session:
            _, text = await create_key(session, role=Role.ADMIN, tenant="default", name="admin.key")
    finally:
        await database.close()
    write_secret(path, f"{text}\n")
