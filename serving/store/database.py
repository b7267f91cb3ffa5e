"""The database as the rest of Strop sees it: sessions, the catalogue's revision, and who listens.

Nobody below the edge commits: `Database.session()` commits when its block ends well.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import psycopg
from sqlalchemy import text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlmodel.ext.asyncio.session import AsyncSession

CHANNEL = "strop_catalog"
_KEY = "hashtextextended(:name, 0)"


@dataclass(frozen=True, slots=True)
class Database:
    """One PostgreSQL database and its pool of connections."""

    url: str
    """postgresql://..., as psycopg reads it."""
    engine: AsyncEngine

    @classmethod
    def connect(cls, url: str, *, pool_size: int = 5) -> "Database":
        """Return the database at `url`; no connection is made before the first session."""
        engine = create_async_engine(
            make_url(url).set(drivername="postgresql+psycopg"),
            pool_size=pool_size,
            pool_pre_ping=True,
            hide_parameters=True,  # they are prompts and answers, and errors are logged
            connect_args={"options": "-c timezone=UTC", "application_name": "strop"},
        )
        return cls(url, engine)

    @asynccontextmanager
    async def session(self) -> AsyncGenerator[AsyncSession]:
        """Yield a session; commit at the end of the block, roll back if it raised."""
        async with AsyncSession(self.engine, expire_on_commit=False) as session:
            yield session
            await session.commit()

    @asynccontextmanager
    async def snapshot(self) -> AsyncGenerator[AsyncSession]:
        """Yield a session that reads everything as of one moment, whatever is changed meanwhile."""
        engine = self.engine.execution_options(isolation_level="REPEATABLE READ")
        async with AsyncSession(engine) as session:
            yield session

    @asynccontextmanager
    async def lock(self, name: str) -> AsyncGenerator[bool]:
        """Try to hold the advisory lock `name`; yield whether we do. Dies with its connection."""
        async with self._hold(name, "pg_try_advisory_lock", "pg_advisory_unlock") as is_held:
            yield is_held

    @asynccontextmanager
    async def share(self, name: str) -> AsyncGenerator[None]:
        """Hold the advisory lock `name` beside others who share it; wait for who has it alone."""
        async with self._hold(name, "pg_advisory_lock_shared", "pg_advisory_unlock_shared"):
            yield

    @asynccontextmanager
    async def _hold(self, name: str, get: str, let_go: str) -> AsyncGenerator[bool]:
        """Yield whether `get` got the lock.

        No transaction is open meanwhile: one that idles for a swap's minutes would hold up vacuum.
        """
        key = {"name": name}
        async with self.engine.connect() as pooled:
            connection = await pooled.execution_options(isolation_level="AUTOCOMMIT")
            try:
                answer = await connection.scalar(text(f"SELECT {get}({_KEY})"), key)
                is_held = answer is not False  # who waits for it is told nothing
                try:
                    yield is_held
                finally:
                    if is_held:
                        await connection.execute(text(f"SELECT {let_go}({_KEY})"), key)
            except BaseException:
                # Cancelled, perhaps between the grant and its answer: closing lets go of the lock.
                await connection.invalidate()
                raise

    @asynccontextmanager
    async def listen(self) -> AsyncGenerator[psycopg.AsyncConnection]:
        """Yield a connection of its own that hears every new revision: see `hear`."""
        connection = await psycopg.AsyncConnection.connect(
            self.url,
            autocommit=True,
            # Seconds: a connection that a firewall forgot says nothing, and news would be late.
            keepalives_idle=5,
            keepalives_interval=2,
            keepalives_count=2,
        )
        async with connection:
            await connection.execute(f"LISTEN {CHANNEL}")
            yield connection

    async def close(self) -> None:
        """Close the pool."""
        await self.engine.dispose()


async def hear(connection: psycopg.AsyncConnection, seconds: float) -> bool:
    """Wait for a new revision on a connection that listens; False: none came within `seconds`.

    Raises:
        psycopg.OperationalError: the connection is gone.
    """
    # psycopg looks ten times a second while it waits; the event loop is told.
    if not await _has_come(connection.fileno(), seconds):
        return False
    return bool([notify async for notify in connection.notifies(timeout=seconds, stop_after=1)])


async def _has_come(descriptor: int, seconds: float) -> bool:
    """Wait until there is something to read."""
    loop, has_come = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(descriptor, has_come.set)
    try:
        async with asyncio.timeout(seconds):
            return await has_come.wait()
    except TimeoutError:
        return False
    finally:
        loop.remove_reader(descriptor)


async def try_lock(session: AsyncSession, name: str) -> bool:
    """Try to hold the advisory lock `name` alone until the transaction ends; return whether we do."""
    return bool(
        await session.scalar(text(f"SELECT pg_try_advisory_xact_lock({_KEY})"), {"name": name})
    )


async def wait_lock(session: AsyncSession, name: str) -> None:
    """Hold the advisory lock `name` alone until the transaction ends, once whoever has it lets go."""
    await session.scalar(text(f"SELECT pg_advisory_xact_lock({_KEY})"), {"name": name})


def reason_of(error: DBAPIError | psycopg.Error) -> str:
    """Say in one line what went wrong, without the rows that a server quotes: those hold prompts."""
    cause = error.orig if isinstance(error, DBAPIError) else error
    if isinstance(cause, psycopg.Error) and cause.diag.message_primary:
        return cause.diag.message_primary
    if isinstance(cause, psycopg.OperationalError):  # no server has spoken: it is of the connection
        return " ".join(str(cause).split())
    return type(cause).__name__


async def raise_revision(session: AsyncSession) -> int:
    """Number the catalogue anew and, on commit, tell every gateway worker.

    The row's lock also puts changes of the catalogue into one order.
    """
    revision = await session.scalar(
        text("UPDATE strop_revision SET value = value + 1 WHERE id = 1 RETURNING value")
    )
    await session.scalar(
        text("SELECT pg_notify(:channel, :revision)"),
        {"channel": CHANNEL, "revision": str(revision)},
    )
    return int(revision)
