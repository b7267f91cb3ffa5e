"""Rows held against answers: how every load test of Strop ends.

What a client saw answered has to be in the database as answered. Besides, there may be one row for
each connection, whose client was gone before it saw the end, and one for each time that somebody
looked whether Strop answers. Else the load test fails, whatever its figures are.
"""

from dataclasses import dataclass
from typing import Any

from tests.bench.stand import Stand


@dataclass
class Tally:
    """What Strop's clients counted."""

    num_answered: int = 0
    num_failed: int = 0
    """Calls that got no answer, or one that was none."""
    num_connections: int = 0

    def add(self, num_answered: float, num_failed: float, num_connections: int) -> None:
        """Count one stretch of load."""
        self.num_answered += int(num_answered)
        self.num_failed += int(num_failed)
        self.num_connections += num_connections


def count_rows(stand: Stand, tally: Tally, num_filled: int = 0) -> dict[str, Any]:
    """Read the whole journal; return what was counted, and as `is_ok` whether it fits together.

    Args:
        stand: its Strop has no load any more.
        tally: of all its clients.
        num_filled: rows that come from no client.
    """
    drained = stand.drain()
    num_rows = len(stand.ok_ids()) - num_filled
    return {**judge(tally, num_rows, stand.num_asked), "drained": drained}


def judge(tally: Tally, num_rows: int, num_asked: int) -> dict[str, Any]:
    """Return the counts, and whether they fit together.

    Args:
        tally: of all clients.
        num_rows: there as answered.
        num_asked: requests of whoever looked whether Strop answers.
    """
    most = tally.num_answered + tally.num_connections + num_asked
    return {
        "answered": tally.num_answered,
        "not_answered": tally.num_failed,
        "ok_rows": num_rows,
        "most_ok_rows": most,
        "is_ok": not tally.num_failed and tally.num_answered <= num_rows <= most,
    }


def describe_rows(counted: dict[str, Any]) -> str:
    """Return the counts in a sentence."""
    drained = counted["drained"]
    return (
        f"{counted['answered']:,} answered by Strop, {counted['not_answered']:,} not; "
        f"{counted['ok_rows']:,} rows ({counted['most_ok_rows']:,} at most): "
        f"{'right' if counted['is_ok'] else 'WRONG'}; "
        f"{drained['records']:,} records drained at {drained['records_per_second']:,}/s."
    )
