"""End-to-end tests share one `strop up` (`tests/stack_fixtures.py`)."""

from pathlib import Path

import pytest

from tests.stack import START_SECONDS


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give every test here the time to start the stack: whoever comes first does."""
    for item in items:
        if Path(__file__).parent in item.path.parents and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(START_SECONDS + 300))
