"""The simulated company's side: which requests come in, and which queue is right for them today."""

from collections.abc import Iterator
from datetime import datetime

from deploy.demo.company import AFTER, BEFORE, Row, queue_of, routing_rows, traffic
from deploy.demo.language import Request

_BATCH = 500
# Seeds apart, so that the files and the traffic are different draws.
_TRAFFIC_SEED = 1_000
_TRAIN_SEED, _EVAL_SEED, _NEW_EVAL_SEED = 101, 102, 103


class World:
    """Halden, before and after the day on which its queues change."""

    def __init__(self) -> None:
        self._company = BEFORE
        self._asked: dict[str, Request] = {}
        self._seed = _TRAFFIC_SEED
        self._waiting: Iterator[Request] = iter(())

    def change(self) -> None:
        """Rename two queues and launch a product; whoever knew the right answers knows the new ones."""
        self._company = AFTER
        self._waiting = iter(())

    def next_request(self) -> str:
        """Return what the next customer writes."""
        request = next(self._waiting, None)
        if request is None:
            self._seed += 1
            self._waiting = iter(traffic(self._company, self._seed, _BATCH))
            request = next(self._waiting)
        self._asked[request.text] = request
        return request.text

    def right_answer(self, text: str) -> str | None:
        """Return the queue that a request belongs to, as of today; None for a request not of ours."""
        request = self._asked.get(text)
        return queue_of(request, self._company) if request else None


def training_rows(count: int) -> list[Row]:
    """Return curated rows of the time before the change."""
    return [_bare(row) for row in routing_rows(BEFORE, _TRAIN_SEED, count)]


def evaluation_rows(count: int) -> list[Row]:
    """Return held-out rows of the time before the change."""
    return [_bare(row) for row in routing_rows(BEFORE, _EVAL_SEED, count)]


def new_evaluation_rows(count: int, at: datetime) -> list[Row]:
    """Return held-out rows of the time after the change, each dated `at`."""
    rows = routing_rows(AFTER, _NEW_EVAL_SEED, count)
    return [{**_bare(row), "at": at.isoformat()} for row in rows]


def _bare(row: Row) -> Row:
    """Leave out the system message: the alias has it."""
    return {**row, "messages": row["messages"][1:]}
