"""The run's one Strop on real vLLM: started once, as a user starts it, and gone after the run."""

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.adapters import make_adapter
from tests.scale import Scale
from tests.stack import BASE_MODEL, DEMO_ADAPTER, Stack, running_stack

ALIAS = "support"


@dataclass(frozen=True, slots=True)
class RunningVllm:
    """The stack's engine, spoken to past the gateway."""

    url: str
    base_model: Path
    served_name: str = "base"


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    """`strop up` on the embedded base, with the alias `support` on the demo's adapter."""
    # Not under tmp_path: a socket's path may have 107 bytes.
    with (
        tempfile.TemporaryDirectory(prefix="strop-") as folder,
        running_stack(
            Path(folder),
            STROP_ENGINE__KV_CACHE_GIB="0.25",
            STROP_LEARNING__MIN_EXAMPLES="300",  # a short training is enough of one here
        ) as found,
    ):
        found.strop("aliases", "create", ALIAS, "--task", "classify")
        found.strop("adapters", "import", ALIAS, str(DEMO_ADAPTER))
        found.strop("promote", ALIAS, "2", "--force", "--reason", "the tests' first adapter")
        yield found


@pytest.fixture(scope="session")
def vllm(stack: Stack) -> RunningVllm:
    """Real vLLM. Adapters that are not in the registry are left alone by the reconciler."""
    return RunningVllm(stack.engine_url, BASE_MODEL)


@pytest.fixture(scope="session")
def adapters(tmp_path_factory: pytest.TempPathFactory, scale: Scale) -> list[Path]:
    """Adapter folders with different weights: 3, or the full 20."""
    folder = tmp_path_factory.mktemp("adapters")
    numbers = range(scale.count(3, full=20))
    return [make_adapter(folder / f"a{seed}", BASE_MODEL, seed=seed) for seed in numbers]
