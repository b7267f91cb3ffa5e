"""The clients of the data path, each on both event loops."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping

import pytest
import uvloop

from gateway.upstream.client import SocketUpstream
from gateway.upstream.protocol import Upstream
from tests.certificates import Authority
from tests.contracts.aiohttp_upstream import AiohttpUpstream


def pytest_asyncio_loop_factories(
    config: pytest.Config,
    item: pytest.Item,
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Run the upstream's tests on uvloop as well, which the gateway runs on."""
    factories: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
        "asyncio": asyncio.new_event_loop
    }
    if item.path.name.startswith("test_upstream"):
        factories["uvloop"] = uvloop.new_event_loop
    return factories


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Whom the clients trust."""
    return Authority(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(params=[SocketUpstream, AiohttpUpstream])
async def upstream(request: pytest.FixtureRequest, authority: Authority) -> AsyncIterator[Upstream]:
    """Each implementation in turn."""
    found = request.param(tls=authority.client_context())
    yield found
    await found.close()


@pytest.fixture
async def ours(authority: Authority) -> AsyncIterator[SocketUpstream]:
    """The one that the gateway runs on, for what only it promises."""
    found = SocketUpstream(tls=authority.client_context())
    yield found
    await found.close()
    assert found.pool.num_living == 0
