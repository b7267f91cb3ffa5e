"""What tests of the journal share."""

from pathlib import Path

import pytest


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A journal that nobody has written to yet."""
    return tmp_path / "journal"
