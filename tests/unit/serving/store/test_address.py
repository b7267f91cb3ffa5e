"""`store.url`: what is no address is refused at once, and an outage is one line of ours."""

import pytest

from serving.errors import ConfigurationError, UnavailableError
from serving.sections import StoreSettings
from serving.settings import Settings
from serving.store import schema
from serving.store.embedded import open_store

PASSWORD = "hunter2"
NOWHERE = f"postgresql://strop:{PASSWORD}@127.0.0.1:9/strop"


@pytest.mark.parametrize(
    "url",
    [
        f"postgre://strop:{PASSWORD}@host/strop",
        f"postgresql+psycopg://strop:{PASSWORD}@host/strop",
        f"postgresql://strop:{PASSWORD}@host:99999/strop",
        f"postgresql://strop:{PASSWORD}@host:port/strop",
        f"postgresql://strop:{PASSWORD}@host/strop?colour=red",
        f"host=localhost password={PASSWORD}",
        "somewhere",
    ],
)
def test_what_is_no_address_is_refused_before_anything_happens(url: str) -> None:
    """The mend in one line, and no password in it."""
    with pytest.raises(ConfigurationError, match=r"store\.url") as caught, open_store(_on(url)):
        pytest.fail("it was taken")
    assert PASSWORD not in caught.value.message
    assert "\n" not in caught.value.message


@pytest.mark.parametrize("url", ["postgresql:///strop", "postgres://strop@[::1]:5432/strop"])
def test_a_connection_takes_ten_seconds_at_most(url: str) -> None:
    """psycopg's own limit is two minutes; whoever sets another one has it."""
    with open_store(_on(url)) as found:
        assert found == f"{url}?connect_timeout=10"
    with open_store(_on(f"{url}?connect_timeout=3")) as found:
        assert found == f"{url}?connect_timeout=3"


def test_a_server_that_is_away_is_one_line() -> None:
    """As `strop migrate` and `strop up` meet it; whoever reads it learns what to look at."""
    with (
        pytest.raises(UnavailableError, match=r"127\.0\.0\.1") as caught,
        open_store(_on(NOWHERE)) as url,
    ):
        schema.migrate(url)
    assert "store.url" in caught.value.message
    assert PASSWORD not in caught.value.message
    assert "\n" not in caught.value.message


def _on(url: str) -> Settings:
    return Settings(store=StoreSettings(url=url))
