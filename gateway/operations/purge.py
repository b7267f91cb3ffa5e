"""Purging: what `strop purge` does and says."""

from datetime import date

from gateway.operations.resources import Json, Resources
from serving.errors import ConflictError, InvalidRequestError
from serving.purge import Purged, look_ahead
from serving.purge import purge as purge_days
from serving.settings import Settings
from serving.store.retention import first_kept_day
from serving.store.tables import utc_now


async def purge(resources: Resources, *, before: date | None, is_dry_run: bool) -> Json:
    """Delete days before `before`, or what the configuration does not keep; return what went.

    `stuck` in it says why something did not; null: everything did.

    Args:
        is_dry_run: count only.

    Raises:
        InvalidRequestError: nothing says what is too old, or days to come are meant.
        ConflictError: a worker, or another command, purges just now.
    """
    settings = resources.settings
    day = _check(before) if before else _first_kept(settings)
    work = look_ahead if is_dry_run else purge_days
    purged = await work(resources.database, settings.journal_dir, day)
    if not purged.has_run:
        raise ConflictError(
            f"Another process purges the database just now; {purged.num_files} files that were set "
            "aside here are gone. Try again when it is done."
        )
    return {**_describe(purged), "is_dry_run": is_dry_run}


def _check(before: date) -> date:
    today = utc_now().date()
    if before > today:
        raise InvalidRequestError(
            f"{before} is still to come. Today, {today} (UTC), is the latest that can stay.",
            param="before",
        )
    return before


def _first_kept(settings: Settings) -> date:
    if settings.store.retention_days is None:
        raise InvalidRequestError(
            "Everything is kept: set store.retention_days, or say --before YYYY-MM-DD.",
            param="before",
        )
    return first_kept_day(utc_now(), settings.store.retention_days)


def _describe(purged: Purged) -> Json:
    return {
        "before": purged.before.isoformat(),
        "days": [
            {"day": day.isoformat(), "inferences": count}
            for day, count in sorted(purged.days.items())
        ],
        **{kind.value: count for kind, count in purged.hanging.items()},
        "files": purged.num_files,
        "stuck": str(purged.stuck) if purged.stuck else None,
    }
