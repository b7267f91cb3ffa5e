"""Checks of a home: its keys, its folders, its lock and its database."""

import stat
from collections.abc import Iterator
from pathlib import Path

import psycopg

from gateway.command.checks import Finding, fault, note, ok
from gateway.command.known_faults import mend_in
from serving.errors import ConfigurationError, StropError
from serving.home import holder_of, private_folders, stale_holder_of
from serving.ids import load_signer
from serving.journal.health import look_at
from serving.journal.segments import REJECTED
from serving.routing.catalog import digest_of
from serving.settings import Settings
from serving.store import schema
from serving.store.embedded import open_store

_LONGEST_LAG_SECONDS = 60.0
_INITIALISE = "Run `strop up` or `strop migrate`."


def check_home(settings: Settings) -> Iterator[Finding]:
    """Yield what the checks of a home find; a home that is not there yet is no fault."""
    if not settings.sign_key.exists():
        yield note("home", f"{settings.home} is not initialised yet; `strop up` does it.")
        return
    yield check_lock(settings)
    yield check_sign_key(settings.sign_key)
    yield check_mode("admin.key", settings.admin_key, 0o600)
    for folder in private_folders(settings):
        yield check_mode(folder.name, folder, 0o700)
    yield from check_engine_logs(settings)
    yield from check_database(settings)


def check_lock(settings: Settings) -> Finding:
    """Say who holds the home, and recognise what a killed `strop up` left."""
    holder, stale = holder_of(settings), stale_holder_of(settings)
    if holder is not None:
        return ok("lock", f"`strop up` runs as process {holder}")
    if stale is not None:
        return note(
            "lock",
            f"`strop up` was killed as process {stale} and left its lock; the next one takes over.",
        )
    return ok("lock", "free")


def check_sign_key(path: Path) -> Finding:
    """sign.key can be read by us, and by nobody else."""
    try:
        load_signer(path)
    except (ConfigurationError, OSError) as error:
        return fault("sign.key", str(error), f"Restore {path} from a backup.")
    return check_mode("sign.key", path, 0o600)


def check_mode(name: str, path: Path, allowed: int) -> Finding:
    """Nobody but the owner has a way to this secret."""
    if not path.exists():
        return fault(name, f"{path} is missing.", _INITIALISE)
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & ~allowed:
        return fault(
            name, f"{path} has mode {mode:04o}: others can get at it.", f"chmod {allowed:o} {path}"
        )
    return ok(name, f"mode {mode:04o}")


def check_engine_logs(settings: Settings) -> Iterator[Finding]:
    """What engines printed since their last start shows no fault that is known."""
    for log in sorted(settings.log_dir.glob("engine-*.log")):
        mend = mend_in(log)
        if mend is None:
            yield ok(log.stem, "its log shows no known fault")
        elif holder_of(settings) is None:
            yield fault(log.stem, f"{log} shows why it did not run.", mend)
        else:  # it may have got over it by now
            yield note(log.stem, f"{log} shows a known fault. {mend}")


def check_database(settings: Settings) -> Iterator[Finding]:
    """The database answers, has this version's schema, and knows admin.key."""
    try:
        with open_store(settings) as url, psycopg.connect(url, autocommit=True) as connection:
            yield ok("database", "answers")
            yield check_schema(connection)
            yield check_admin_key(connection, settings.admin_key)
            yield from check_journal(connection, settings.journal_dir)
            yield from check_pools(connection, {pool.name for pool in settings.all_pools})
    except (psycopg.Error, StropError) as error:
        yield fault(
            "database",
            str(error),
            f"Look into {settings.home / 'pg' / 'log'}, or check store.url.",
        )


def check_schema(connection: psycopg.Connection) -> Finding:
    """The schema is the one that this version works with."""
    try:
        row = connection.execute("SELECT version_num FROM strop_schema").fetchone()
    except psycopg.errors.UndefinedTable:
        row = None
        connection.rollback()
    found, wanted = row[0] if row else "none", schema.head()
    if found == wanted:
        return ok("schema", found)
    return fault(
        "schema", f"The database has schema {found}, this version needs {wanted}.", _INITIALISE
    )


def check_journal(connection: psycopg.Connection, folder: Path) -> Iterator[Finding]:
    """The journal is in the database: nothing waits for long, nothing was set aside."""
    query = "SELECT name, num_bytes FROM strop_segment WHERE finished_at IS NULL"
    try:
        ingested: dict[str, int] = dict(connection.execute(query).fetchall())
    except psycopg.errors.UndefinedTable:  # another check says so
        connection.rollback()
        return
    health = look_at(folder, ingested)
    waits = f"{health.num_unread_bytes} bytes not in the database yet"
    if health.lag_seconds > _LONGEST_LAG_SECONDS:
        since = f"{waits}, the oldest for {health.lag_seconds:.0f} s"
        yield note("ingest", f"{since}: a worker takes them in, which `strop up` runs.")
    else:
        yield ok("ingest", waits)
    if health.num_damaged:
        yield fault(
            "damaged journal",
            f"{health.num_damaged} segments in {folder} are damaged; what stood before the damage "
            "is stored.",
            "Rename each back without `.damaged` once it is repaired, else remove it.",
        )
    if health.num_rejected:
        yield fault(
            "rejected records",
            f"{health.num_rejected} files hold records that could not be stored; the worker's log says why.",
            f"Move them from {folder / REJECTED} into {folder} to try them again, else remove them.",
        )


def check_pools(connection: psycopg.Connection, known: set[str]) -> Iterator[Finding]:
    """Every alias is served by a pool that the configuration names."""
    query = """
        SELECT alias.tenant, alias.name, release.number, release.pool
        FROM strop_alias AS alias
        JOIN strop_release AS release ON release.id IN (alias.champion_id, alias.challenger_id)
        WHERE release.pool <> ALL(%s)
        ORDER BY 1, 2, 3
    """
    try:
        lost = connection.execute(query, [list(known)]).fetchall()
    except psycopg.errors.UndefinedTable:  # another check says so
        return
    for tenant, name, number, pool in lost:
        yield fault(
            f"pool {pool}",
            f"Alias {name} of {tenant} is served by release {number} of pool {pool}, which the "
            "configuration does not name: its clients get 503.",
            "Name the pool again, or promote a release of another one.",
        )


def check_admin_key(connection: psycopg.Connection, path: Path) -> Finding:
    """The key in admin.key works."""
    if not path.exists():
        return fault("admin key", f"{path} is missing.", _INITIALISE)
    query = "SELECT revoked_at IS NULL FROM strop_key WHERE digest = %s"
    try:
        row = connection.execute(query, [digest_of(path.read_text().strip())]).fetchone()
    except psycopg.errors.UndefinedTable:
        row = None
    if row and row[0]:
        return ok("admin key", "known")
    return fault(
        "admin key",
        f"The key in {path} is {'revoked' if row else 'not known to this database'}.",
        f"Remove {path} and run `strop migrate`: it makes a new one.",
    )
