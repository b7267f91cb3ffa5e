"""One `strop up` for all end-to-end tests: real vLLM, real PostgreSQL, the demo's first adapter."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.adapters import make_adapter
from tests.scale import Scale
from tests.stack import BASE_MODEL, DEMO_ADAPTER, Stack, running_stack

START = pytest.mark.timeout(900)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give every test here the time to start the stack: whoever comes first does."""
    for item in items:
        if Path(__file__).parent in item.path.parents and not item.get_closest_marker("timeout"):
            item.add_marker(START)


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    """A running stack whose alias `support` answers with the demo's adapter."""
    # Not under tmp_path: a socket's path may have 107 bytes.
    with tempfile.TemporaryDirectory(prefix="strop-") as home, running_stack(Path(home)) as found:
        found.strop("aliases", "create", "support", "--task", "classify")
        imported = found.strop("adapters", "import", "support", str(DEMO_ADAPTER))
        number = str(imported["release"]["number"])
        found.strop("promote", "support", number, "--force", "--reason", "the tests' first adapter")
        yield found


@pytest.fixture(scope="session")
def adapters(scale: Scale, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Adapters of other weights each, to be swapped in one after the other."""
    folder = tmp_path_factory.mktemp("adapters")
    return [
        make_adapter(folder / str(seed), BASE_MODEL, seed=seed)
        for seed in range(1, scale.count(3, 20) + 1)
    ]
