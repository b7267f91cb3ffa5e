"""The order in which training sees its rows: random, of like length side by side, fixed beforehand."""

from collections.abc import Iterator, Sequence
from random import Random

POOL_BATCHES = 50
"""Batches whose rows are sorted by length together: like lengths pad little, and order stays random."""


def training_order(
    lengths: Sequence[int], batch_size: int, num_epochs: int, seed: int
) -> list[int]:
    """Return the rows' numbers, each `num_epochs` times, batch after batch.

    Args:
        lengths: tokens of each row.
        batch_size: rows of a step; only the last batch of all may be shorter.
        num_epochs: passes over the rows; a batch may hold rows of two passes.
        seed: the same seed gives the same order.
    """
    random = Random(seed)  # noqa: S311 - an order, no secret
    passes = [random.sample(range(len(lengths)), len(lengths)) for _ in range(num_epochs)]
    order = [row for one_pass in passes for row in one_pass]
    pool_size = batch_size * POOL_BATCHES
    pools = [order[at : at + pool_size] for at in range(0, len(order), pool_size)]
    return [
        row
        for pool in pools
        for batch in _batches(pool, lengths, batch_size, random)
        for row in batch
    ]


def _batches(
    pool: list[int], lengths: Sequence[int], batch_size: int, random: Random
) -> Iterator[list[int]]:
    by_length = sorted(pool, key=lambda row: lengths[row])
    batches = [by_length[at : at + batch_size] for at in range(0, len(by_length), batch_size)]
    short = [batches.pop()] if len(batches[-1]) < batch_size else []
    random.shuffle(batches)
    yield from batches + short
