"""Named points of a request's way, of ingest and of a purge where a process kills itself, as kill -9
would.

The product knows nothing of them and pays nothing for them: a point is a step of the product, a
function, that is wrapped in the one process that is to die. A step that was renamed fails here.
"""

import asyncio
import inspect
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from enum import Enum
from functools import reduce
from importlib import import_module
from itertools import count
from pathlib import Path
from typing import Any

from gateway.serve import serve
from serving import purge
from serving.journal import ingest
from serving.journal.records import Begin, End, Feedback
from serving.settings import Settings
from serving.store.database import Database
from tests.commands import speak_into


class Moment(Enum):
    """When to die."""

    BEFORE = "before the step"
    AFTER = "after it"
    HALF = "with half of the bytes written that it writes"


@dataclass(frozen=True, slots=True)
class Failpoint:
    """A step, as `module:function` or `module:Class.function`, and the moment."""

    moment: Moment
    step: str
    kind: type = object
    """Only calls with an argument of this kind count."""


_APPEND = "serving.journal.writer:JournalWriter.append"
_ROTATE = "serving.journal.writer:JournalWriter._rotate"
_INGEST = "serving.journal.ingest"

GATEWAY = {
    "begin-due": Failpoint(Moment.BEFORE, _APPEND, Begin),
    "begin-written": Failpoint(Moment.AFTER, _APPEND, Begin),
    "begin-secured": Failpoint(Moment.AFTER, "serving.journal.writer:JournalWriter.flush"),
    "replica-dealt": Failpoint(Moment.AFTER, "gateway.inference.dispatch:Dispatcher.take"),
    "upstream-connected": Failpoint(Moment.AFTER, "gateway.upstream.pool:ConnectionPool.connect"),
    "request-sent": Failpoint(Moment.AFTER, "gateway.upstream.connection:Connection.write"),
    "head-received": Failpoint(Moment.AFTER, "gateway.upstream.client:ask"),
    "head-passed-on": Failpoint(Moment.AFTER, "gateway.http.exchange:Exchange.start"),
    "piece-received": Failpoint(Moment.AFTER, "gateway.upstream.call:Response.read"),
    "piece-recorded": Failpoint(Moment.AFTER, "gateway.inference.relay:_record"),
    "piece-passed-on": Failpoint(Moment.AFTER, "gateway.http.reply:Reply.pass_on"),
    "end-due": Failpoint(Moment.BEFORE, _APPEND, End),
    "end-written": Failpoint(Moment.AFTER, _APPEND, End),
    "answer-passed-on": Failpoint(Moment.AFTER, "gateway.http.reply:Reply.end"),
    "feedback-due": Failpoint(Moment.BEFORE, _APPEND, Feedback),
    "feedback-written": Failpoint(Moment.AFTER, _APPEND, Feedback),
    "record-half-written": Failpoint(Moment.HALF, "serving.journal.segments:OpenSegment.append"),
    "rotation-due": Failpoint(Moment.BEFORE, _ROTATE),
    "segment-drafted": Failpoint(Moment.BEFORE, "pathlib:Path.rename"),
    "segment-named": Failpoint(Moment.AFTER, "pathlib:Path.rename"),
    "rotated": Failpoint(Moment.AFTER, _ROTATE),
}
"""In a gateway worker."""

INGEST = {
    "segments-listed": Failpoint(Moment.AFTER, f"{_INGEST}:list_segments"),
    "batch-read": Failpoint(Moment.AFTER, f"{_INGEST}:read_entries"),
    "partitions-made": Failpoint(Moment.AFTER, f"{_INGEST}:ensure_partitions"),
    "offset-moved": Failpoint(Moment.AFTER, f"{_INGEST}:_advance"),
    "rows-written": Failpoint(Moment.AFTER, f"{_INGEST}:write_or_isolate"),
    "batch-committed": Failpoint(Moment.AFTER, f"{_INGEST}:_store"),
    "orphans-interrupted": Failpoint(Moment.AFTER, f"{_INGEST}:_interrupt"),
    "segment-marked": Failpoint(Moment.AFTER, f"{_INGEST}:_mark_finished"),
    "removal-due": Failpoint(Moment.BEFORE, f"{_INGEST}:_remove"),
    "segment-removed": Failpoint(Moment.AFTER, f"{_INGEST}:_remove"),
}
"""In a worker that ingests."""


PURGE = {
    "day-detached": Failpoint(Moment.AFTER, "serving.purge:detach"),
    "drop-uncommitted": Failpoint(Moment.AFTER, "serving.purge:drop_detached"),
    "day-removed": Failpoint(Moment.AFTER, "serving.purge:_drop_day"),
    "ratings-deleted": Failpoint(Moment.AFTER, "serving.purge:delete_hanging"),
    "file-removed": Failpoint(Moment.AFTER, "pathlib:Path.unlink"),
}
"""In a worker that purges."""


def become_gateway(point: str, nth: int, settings: str, url: str, log: Path) -> None:
    """Serve until the point is reached."""
    speak_into(log, log)
    arm(GATEWAY[point], nth)
    serve(Settings.model_validate_json(settings), url)


def become_ingest(point: str, nth: int, folder: str, url: str, log: Path) -> None:
    """Make one pass, in small batches, as far as the point."""
    speak_into(log, log)
    arm(INGEST[point], nth)
    ingest._BATCH_BYTES = 2**13

    async def run() -> None:
        await ingest.ingest(Database.connect(url), Path(folder))

    asyncio.run(run())


def become_purge(point: str | None, before: date, folder: str, url: str, log: Path) -> None:
    """Purge as far as the point, or until somebody else kills this process."""
    speak_into(log, log)
    if point is not None:
        arm(PURGE[point], 1)

    async def run() -> None:
        await purge.purge(Database.connect(url), Path(folder), before)

    asyncio.run(run())


def arm(point: Failpoint, nth: int) -> None:
    """Have this process die when it comes to this point for the `nth` time, or later."""
    module, _, path = point.step.partition(":")
    *owners, name = path.split(".")
    owner = reduce(getattr, owners, import_module(module))
    setattr(owner, name, _dying(getattr(owner, name), point, nth))


def _dying(step: Callable[..., Any], point: Failpoint, nth: int) -> Callable[..., Any]:
    hits = count(1)

    def is_due(arguments: tuple[Any, ...]) -> bool:
        counts = any(isinstance(argument, point.kind) for argument in arguments)
        return counts and next(hits) >= nth

    def before(arguments: tuple[Any, ...]) -> bool:
        is_last = is_due(arguments)
        if is_last and point.moment is Moment.HALF:
            segment, frame = arguments
            os.write(segment.descriptor, frame[: len(frame) // 2])
        if is_last and point.moment is not Moment.AFTER:
            _die()
        return is_last

    def wrapped(*arguments: Any, **named: Any) -> Any:
        is_last = before(arguments)
        found = step(*arguments, **named)
        return _die() if is_last else found

    async def wrapped_async(*arguments: Any, **named: Any) -> Any:
        is_last = before(arguments)
        found = await step(*arguments, **named)
        return _die() if is_last else found

    return wrapped_async if inspect.iscoroutinefunction(step) else wrapped


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)
