"""What runs and what is served, in one look: `strop status` and `/api/status`."""

import asyncio
from datetime import UTC, datetime
from pathlib import Path

import psutil

from gateway.operations.aliases import describe_aliases
from gateway.operations.resources import Json, Resources
from gateway.operations.sentences import tell_learning
from serving.home import holder_of
from serving.journal.health import JournalHealth, look_at, read_ingested
from serving.sections import PoolSettings, StoreSettings
from serving.settings import Settings
from serving.store import aliases as alias_store
from serving.store import runs, workers
from serving.store.aliases import id_of
from serving.store.partitions import DayTable, TableState, list_days
from serving.store.tables import GatewayWorker, Replica
from serving.store.usage import AliasUsage, usage_by_alias

_HOUR_MS = 3_600_000


async def show_status(resources: Resources) -> Json:
    """Return processes, pools with their replicas, gateway workers, aliases and journal lag."""
    settings = resources.settings
    async with resources.database.session() as session:
        rows = await alias_store.list_aliases(session)
        aliases = await describe_aliases(session, rows)
        newest_runs = await runs.newest_runs(session)
        decisions = await runs.newest_decisions(session)
        replicas = {row.url: row for row in await workers.list_replicas(session)}
        gateways = await workers.list_live_workers(session)
        used = await usage_by_alias(session)
        ingested = await read_ingested(session)
        days = await list_days(session)
    health = await asyncio.to_thread(look_at, settings.journal_dir, ingested)
    pools = [
        describe_pool(pool, [engine.url for engine in resources.engines[pool.name]], replicas)
        for pool in settings.all_pools
    ]
    return {
        "home": str(settings.home),
        "address": settings.gateway.near_url,
        "processes": running_processes(settings),
        "pools": pools,
        "gateways": [describe_gateway(row) for row in gateways],
        "journal": describe_journal(health),
        "records": describe_records(days, settings.store),
        "aliases": [
            {
                **alias,
                **describe_usage([each for each in used if each.alias_id == row.id], settings),
                "summary": summarise(alias, gateways, pools),
                "learning": tell_learning(
                    row, newest_runs.get(id_of(row)), decisions.get(id_of(row))
                ),
            }
            for row, alias in zip(rows, aliases, strict=True)
        ],
    }


def running_processes(settings: Settings) -> list[Json]:
    """Return the `strop up` of this home and what it keeps alive; nothing where none runs."""
    holder = holder_of(settings)
    if holder is None:
        return []
    try:
        parent = psutil.Process(holder)
        # Between the supervisor and each child stands a keeper, which is of no interest here.
        kept = [child for keeper in parent.children() for child in keeper.children()]
        return [_describe_process(process) for process in [parent, *kept]]
    except psutil.NoSuchProcess:
        return []


def describe_pool(pool: PoolSettings, urls: list[str], replicas: dict[str, Replica]) -> Json:
    """Return a pool with what the worker last saw of each replica; `seen_at` None: never."""
    return {
        "name": pool.name,
        "kind": pool.kind.value,
        "served_name": pool.served_name,
        "replicas": [_describe_replica(url, replicas.get(url)) for url in urls],
    }


def describe_gateway(row: GatewayWorker) -> Json:
    """Return what a gateway worker last said of itself."""
    return {
        "id": row.id,
        "host": row.host,
        "pid": row.pid,
        "revision": row.revision,
        "in_flight": sum(row.in_flight.values()),
        "proved": row.proved,
        "seen_at": row.seen_at.isoformat(),
    }


def describe_journal(health: JournalHealth) -> Json:
    """Return what waits for ingest, and what could not be stored."""
    return {
        "unread_bytes": health.num_unread_bytes,
        "lag_seconds": round(health.lag_seconds, 1),
        "damaged_segments": health.num_damaged,
        "rejected_files": health.num_rejected,
    }


def describe_records(days: list[DayTable], store: StoreSettings) -> Json:
    """Return from which day on requests and answers are there, and for how many days they stay.

    A detached day is there and nobody sees it: a purge began and did not end.
    """
    seen = [table.day for table in days if table.state is TableState.ATTACHED]
    detached = [table.day for table in days if table.state is not TableState.ATTACHED]
    return {
        "oldest_day": min(seen).isoformat() if seen else None,
        "detached_days": [day.isoformat() for day in detached],
        "retention_days": store.retention_days,
    }


def describe_usage(used: list[AliasUsage], settings: Settings) -> Json:
    """Return an alias's tokens of this month, and their cost where a pool's GPUs have a price.

    Its requests' shares of the replicas' time, at the price of now: see gateway.inference.meter.
    """
    prices = {pool.name: pool.price_per_hour for pool in settings.all_pools}
    costs = [
        each.busy_ms / _HOUR_MS * price
        for each in used
        if (price := prices.get(each.pool)) is not None
    ]
    is_priced = any(price is not None for price in prices.values())
    return {
        "tokens_this_month": sum(each.tokens for each in used),
        "cost_this_month": round(sum(costs), 4) if is_priced else None,
    }


def summarise(alias: Json, gateways: list[GatewayWorker], pools: list[Json]) -> str:
    """Say in one sentence what an alias serves, and whether it can right now."""
    champion = alias["champion"]
    what = f"release {champion['number']} ({champion['adapter'] or 'the base model'})"
    if champion["pool"] not in {pool["name"] for pool in pools}:
        return (
            f"{alias['name']} cannot serve {what}: the configuration names no pool "
            f"{champion['pool']}."
        )
    if not gateways:
        return f"{alias['name']} would serve {what}, but no gateway runs."
    healthy = {
        replica["url"]
        for pool in pools
        if pool["name"] == champion["pool"]
        for replica in pool["replicas"]
        if replica["is_healthy"]
    }
    ready = _proving(champion["adapter"], gateways, healthy)
    if not ready:
        return f"{alias['name']} cannot serve {what} now: no replica has proved that it holds it."
    return f"{alias['name']} serves {what} from {ready} of {_count(champion['pool'], pools)}."


def _proving(adapter: str | None, gateways: list[GatewayWorker], healthy: set[str]) -> int:
    """Count the replicas from which some gateway worker serves this; the base needs only health."""
    if adapter is None:
        return len(healthy)
    return len({url for row in gateways for url, names in row.proved.items() if adapter in names})


def _count(pool: str, pools: list[Json]) -> str:
    count = sum(len(found["replicas"]) for found in pools if found["name"] == pool)
    return "1 replica" if count == 1 else f"{count} replicas"


def _describe_replica(url: str, row: Replica | None) -> Json:
    return {
        "url": url,
        "is_healthy": row.is_healthy if row else False,
        "adapters": row.adapters if row else [],
        "error": row.error if row else "The worker has not looked at it yet.",
        "seen_at": row.seen_at.isoformat() if row else None,
    }


def _describe_process(process: psutil.Process) -> Json:
    with process.oneshot():
        return {
            "pid": process.pid,
            "command": " ".join(_short(part) for part in process.cmdline()[:6]),
            "started_at": datetime.fromtimestamp(process.create_time(), UTC).isoformat(),
            "rss_bytes": process.memory_info().rss,
        }


def _short(part: str) -> str:
    return Path(part).name if part.startswith("/") else part
