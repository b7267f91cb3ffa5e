"""The least busy replica answers, or a session's own while that is not much busier."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from serving.routing.replicas import pick_replica

URLS = [f"http://10.0.0.{number}:8000" for number in range(5)]
loads = st.lists(st.integers(0, 20), min_size=1, max_size=5).map(
    lambda counts: dict(zip(URLS, counts, strict=False))
)


@given(loads, st.integers(1, 25))
def test_the_least_busy_one_is_taken(load: dict[str, int], most: int) -> None:
    """Exactly: no sample of two. None when every one has as many as it may."""
    picked = pick_replica(list(load), load, max_in_flight=most)
    if min(load.values()) >= most:
        assert picked is None
    else:
        assert picked is not None
        assert load[picked] == min(load.values())


@given(loads, st.integers(1, 25), st.text(st.characters(), max_size=20))
def test_a_session_never_overloads_its_replica(
    load: dict[str, int], most: int, session: str
) -> None:
    """Never above `max_in_flight`, nor a quarter over the average of those that have room."""
    picked = pick_replica(list(load), load, max_in_flight=most, session=session)
    free = [count for count in load.values() if count < most]
    assert (picked is None) == (not free)
    if picked is not None:
        assert load[picked] < most
        assert load[picked] < 1.25 * (sum(free) + 1) / len(free) + 1


@given(st.text(st.characters(), max_size=20))
def test_a_session_stays_where_it_is(session: str) -> None:
    """Idle replicas: always the same one, in whatever order they are listed."""
    idle = Counter[str]()
    first = pick_replica(URLS, idle, max_in_flight=9, session=session)
    assert pick_replica(URLS[::-1], idle, max_in_flight=9, session=session) == first


def test_a_lost_replica_moves_its_own_sessions_only() -> None:
    """And sessions are spread: each replica has its part of them."""
    idle = Counter[str]()

    def homes(urls: list[str]) -> dict[str, str | None]:
        return {
            session: pick_replica(urls, idle, max_in_flight=9, session=session)
            for session in map(str, range(500))
        }

    before, after = homes(URLS), homes(URLS[1:])
    assert all(after[s] == home for s, home in before.items() if home != URLS[0])
    assert all(count > 50 for count in Counter(before.values()).values())


def test_a_busy_home_is_left_for_a_free_one() -> None:
    """The bound bites: a session whose replica is far over the average goes elsewhere."""
    home = pick_replica(URLS, Counter(), max_in_flight=99, session="a")
    load = Counter({home: 40})
    assert pick_replica(URLS, load, max_in_flight=99, session="a") != home
