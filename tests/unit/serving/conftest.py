"""What the tests of this room share: settings with two pools, on a home of their own."""

from pathlib import Path

import pytest

from serving.sections import PoolSettings
from serving.settings import Settings


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Two pools whose engines somebody else runs: `small` and `large`."""
    return Settings(
        home=tmp_path,
        pools=(
            PoolSettings(
                name="small",
                served_name="base",
                urls=("http://small-0", "http://small-1"),
                adapter_root="/remote/adapters",
            ),
            PoolSettings(name="large", served_name="base-large", urls=("http://large-0",)),
        ),
    )
