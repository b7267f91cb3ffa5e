"""How fast the journal becomes rows while requests are served: `python -m tests.bench.ingest`.

A journal is filled with inferences of an earlier worker, begun and ended. Then `strop worker
--only ingest` reads it, while a gateway on the same home and machine answers requests at a
constant rate, whose records join the journal. Records count when their transaction is in the
database. At the end the rest is read, and the rows of what was served are counted (`rows.py`); where
they do not fit what clients saw, this ends with 1.
"""

import argparse
import json
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psycopg

from gateway.command.progress import live_line
from serving.ids import load_signer
from serving.journal.writer import JournalWriter
from tests.bench.openloop import CONNECTIONS, at_rate
from tests.bench.peers import chat
from tests.bench.report import finish, load_now, make_parser, table
from tests.bench.rows import Tally, count_rows, describe_rows
from tests.bench.stand import Stand, standing
from tests.bench.wrk import instant_upstream
from tests.journal import make_begin, make_end
from tests.scale import Scale
from tests.stack import wait_until

_LOOK_SECONDS = 0.2


def main() -> int:
    """Measure, print."""
    parser = make_parser(__doc__)
    parser.add_argument("--inferences", type=int, default=200_000, help="in the journal before")
    parser.add_argument("--rate", type=float, default=500, help="requests/s meanwhile")
    parser.add_argument("--seconds", type=float, default=20)
    options = parser.parse_args()
    with live_line() as tell:
        figures = measure(options, tell)
    keep(figures, Scale(is_full=options.write))
    return finish("ingest", figures, describe(figures), options)


def measure(options: argparse.Namespace, tell: Callable[[str], None]) -> dict[str, Any]:
    """Return all figures."""
    load = load_now()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="strop-bench-")))
        direct = stack.enter_context(instant_upstream(folder))
        stand = stack.enter_context(standing(direct.url))
        with stand.gateway() as ours:
            body = chat(ours.model)
            tell(f"{options.rate:g} requests/s without ingest")
            before = at_rate(ours, body, options.rate, options.seconds / 2)
            tell(f"Filling the journal with {options.inferences} inferences")
            fill(stand, options.inferences)
            with stand.ingesting(), Watched(stand, 2 * options.inferences) as watched:
                wait_until(watched.has_begun.is_set, 60, "the worker has begun")
                tell(f"Ingest, and {options.rate:g} requests/s")
                during = at_rate(ours, body, options.rate, options.seconds)
        tell("Reading the rest")
        tally = Tally()
        for found in (before, during):
            tally.add(found["num_answered"], found["num_failed"], CONNECTIONS)
        counted = count_rows(stand, tally, options.inferences)
    return {
        "load_before": load,
        "records_per_second": watched.records_per_second,
        "requests_per_second": round(during["num_answered"] / during["seconds"]),
        "before": before,
        "during": during,
        "p99_ms": during["p99_ms"],
        **counted,
    }


def fill(stand: Stand, num_inferences: int) -> None:
    """Write a journal as a worker that is gone has left it."""
    signer = load_signer(stand.settings.sign_key)
    request = json.loads(chat("base"))
    writer = JournalWriter(stand.settings.journal_dir, stand.settings.journal, "filled")
    answer = {"choices": [{"message": {"role": "assistant", "content": "Where? " * 12}}]}
    response = json.dumps({**answer, "usage": {"prompt_tokens": 12, "completion_tokens": 16}})
    for _ in range(num_inferences):
        body = json.dumps(request).encode()
        begin = make_begin(id=signer.mint("default"), request=body)
        writer.append(begin)
        writer.append(make_end(begin, response=response.encode()))
    writer.close()


class Watched:
    """Watches how many records are in the database: `with` begins and ends it."""

    def __init__(self, stand: Stand, most: int) -> None:
        self._url = stand.url
        self._most = most
        self.has_begun = threading.Event()
        self._seen: list[tuple[float, int]] = []
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._look)

    @property
    def records_per_second(self) -> int:
        """From the first records to the last ones of the filled journal, or to the end."""
        working = [(at, number) for at, number in self._seen if number < self._most]
        assert len(working) > 1, "the journal was empty at once: fill it with more"
        (first_at, first), (last_at, last) = working[0], working[-1]
        return round((last - first) / (last_at - first_at))

    def __enter__(self) -> "Watched":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()

    def _look(self) -> None:
        query = "SELECT coalesce(sum(num_records), 0)::bigint FROM strop_segment"
        with psycopg.connect(self._url, autocommit=True) as connection:
            while not self._is_over.wait(_LOOK_SECONDS):
                row = connection.execute(query).fetchone()
                if row is not None and row[0]:
                    self._seen.append((time.monotonic(), row[0]))
                    self.has_begun.set()


def keep(figures: dict[str, Any], scale: Scale) -> None:
    """Keep what README tells."""
    scale.record(
        "ingest",
        records_per_second=figures["records_per_second"],
        requests_per_second=figures["requests_per_second"],
        p99_ms=figures["p99_ms"],
    )


def describe(figures: dict[str, Any]) -> str:
    """Return the figures as a table."""
    names = ("p50_ms", "p99_ms", "late_p99_ms")
    rows = [
        [what, found["num_answered"] / found["seconds"], *(found[name] for name in names)]
        for what, found in (
            ("without ingest", figures["before"]),
            (f"{figures['records_per_second']:,} records/s", figures["during"]),
        )
    ]
    head = ["", "requests/s", "p50 ms", "p99 ms", "late p99"]
    return f"{table(head, rows)}\n\n{describe_rows(figures)}"


if __name__ == "__main__":
    raise SystemExit(main())
