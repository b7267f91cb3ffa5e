"""Which of the replicas that could answer does: pure."""

from collections.abc import Collection, Mapping
from hashlib import blake2b
from math import ceil
from typing import Final

_MOST_OVER_AVERAGE: Final = 1.25
"""How far over the average load a session's own replica may be: "Consistent Hashing with Bounded
Loads" (Mirrokni, Thorup, Zadimoghaddam 2018) gives 1.25 as its example."""


def pick_replica(
    replicas: Collection[str],
    load: Mapping[str, int],
    *,
    max_in_flight: int,
    session: str | None = None,
) -> str | None:
    """Return the replica that gets the next request, None if each has as many as it may.

    Args:
        replicas: URLs of those that hold what is wanted and are well.
        load: URL -> requests there now. Among the least busy ones, the first of `replicas` is taken.
        max_in_flight: requests that a replica may have.
        session: requests with the same one go to the same replica while that is not busier than
            others by more than a quarter; None: the least busy one answers.
    """
    if session is None:
        return _least_busy(replicas, load, max_in_flight)
    free = [url for url in replicas if load[url] < max_in_flight]
    if not free:
        return None
    bound = ceil(_MOST_OVER_AVERAGE * (sum(load[url] for url in free) + 1) / len(free))
    # One under the bound there always is: all at the bound would be more than there are.
    near = [url for url in free if load[url] < bound]
    return max(near, key=lambda url: _draw(session, url))


def _least_busy(
    replicas: Collection[str], load: Mapping[str, int], max_in_flight: int
) -> str | None:
    found, fewest = None, max_in_flight
    for url in replicas:
        if load[url] < fewest:
            found, fewest = url, load[url]
    return found


def _draw(session: str, url: str) -> bytes:
    """Return a session's draw for a replica: the highest wins, and a lost replica moves only its own.

    Rendezvous hashing (Thaler and Ravishankar 1998).
    """
    seed = f"{session}\n{url}".encode("utf-8", "surrogatepass")
    return blake2b(seed, digest_size=8).digest()
