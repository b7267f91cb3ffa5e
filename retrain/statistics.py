"""The tests and intervals that decisions rest on: exact where the sample is small, seeded always."""

from collections.abc import Sequence
from math import comb

import numpy as np

RESAMPLES = 10_000


def mcnemar_p(num_better: int, num_worse: int) -> float:
    """Return the exact one-sided p of "not better" for paired right/wrong outcomes.

    P(Bin(b + c, 1/2) >= b), with b items only the candidate has right and c items only the
    champion has right (McNemar 1947, exact form).
    """
    discordant = num_better + num_worse
    favourable, ways = 0, comb(discordant, num_better)
    for k in range(num_better, discordant + 1):
        favourable += ways
        ways = ways * (discordant - k) // (k + 1)  # comb(discordant, k + 1)
    return float(favourable / 2**discordant)


def bootstrap_interval(
    scores: Sequence[float], level: float = 0.95, seed: int = 0
) -> tuple[float, float]:
    """Return the percentile bootstrap interval of the mean of `scores`, at `level`."""
    values, rng = np.asarray(scores, dtype=float), np.random.default_rng(seed)
    # In slices: 10,000 x 10,000 indices at once would take 800 MB.
    slices = (rng.integers(0, values.size, (500, values.size)) for _ in range(RESAMPLES // 500))
    means = np.concatenate([values[rows].mean(axis=1) for rows in slices])
    tail = 100 * (1 - level) / 2
    low, high = np.percentile(means, [tail, 100 - tail])
    return float(low), float(high)
