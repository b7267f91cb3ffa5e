"""The database: migrations, sessions, revisions and locks, on real PostgreSQL."""

import asyncio

import pytest
from sqlalchemy import text
from sqlmodel import select

from serving.store import schema
from serving.store.database import Database, raise_revision, try_lock
from serving.store.embedded import PostgresServer, database_url
from serving.store.tables import Revision


async def test_migrations_make_exactly_the_tables(
    postgres: PostgresServer, database_name: str
) -> None:
    """`upgrade head` equals the metadata: `alembic check` finds nothing to add."""
    assert schema.migrate(database_url(postgres, database_name)) == schema.head()
    schema.check(database_url(postgres, database_name))


async def test_a_new_revision_is_heard_after_commit(database: Database) -> None:
    """Whoever listens hears the number of a revision once its transaction is in."""
    async with database.listen() as connection:
        async with database.session() as session:
            revision = await raise_revision(session)
        heard = [notify async for notify in connection.notifies(timeout=10, stop_after=1)]
    assert [notify.payload for notify in heard] == [str(revision)]


async def test_a_failed_block_leaves_nothing(database: Database) -> None:
    """A session whose block raises is rolled back."""

    async def fail_after_writing() -> None:
        async with database.session() as session:
            await raise_revision(session)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail_after_writing()
    async with database.session() as session:
        assert (await session.exec(select(Revision.value))).one() == 0


async def test_a_lock_is_held_once(database: Database) -> None:
    """Of two that want the same advisory lock, one gets it; it is free again afterwards."""
    async with database.lock("alias/1") as first, database.lock("alias/1") as second:
        assert (first, second) == (True, False)
    async with database.lock("alias/1") as third:
        assert third


async def test_a_shared_lock_keeps_out_who_wants_it_alone(database: Database) -> None:
    """Any number may share a lock; until the last lets go, nobody has it alone."""
    shared = database.share("adapter/a"), database.share("adapter/a")
    async with shared[0], shared[1], database.lock("adapter/a") as is_held:
        assert not is_held
        async with database.session() as session:
            assert not await try_lock(session, "adapter/a")
    async with database.session() as session:
        assert await try_lock(session, "adapter/a")
    async with database.share("adapter/a"):
        pass


async def test_whoever_holds_a_lock_has_no_transaction_open(database: Database) -> None:
    """A swap holds its lock for minutes; a transaction that idles so long holds up vacuum."""
    states = text(
        "SELECT state FROM pg_stat_activity JOIN pg_locks USING (pid)"
        " WHERE datname = current_database() AND locktype = 'advisory'"
    )
    async with database.lock("alias/1"), database.engine.connect() as connection:
        assert list(await connection.scalars(states)) == ["idle"]


async def test_a_lock_whose_taker_is_cancelled_is_free_again(database: Database) -> None:
    """Wherever a cancellation comes, between the grant and its answer too, the lock is let go."""

    async def hold() -> None:
        async with database.lock("alias/1"):
            await asyncio.sleep(60)

    for num_steps in range(60):
        task = asyncio.create_task(hold())
        for _ in range(num_steps):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    async with asyncio.timeout(30):
        while True:
            async with database.lock("alias/1") as is_held:
                if is_held:
                    break
            await asyncio.sleep(0.05)  # a closed connection takes the server a moment
