"""What `strop up` has the supervisor keep alive."""

import httpx

from gateway.command.up import make_programs
from serving.sections import EngineSettings
from serving.settings import Settings


async def test_only_engines_are_killed_for_their_silence() -> None:
    """How long they may be silent is a setting; gateway and worker have no model to hang on."""
    settings = Settings(engine=EngineSettings(base_model="m", patience_seconds=7))
    async with httpx.AsyncClient() as client:
        engines, worker, gateway = make_programs(settings, {}, client)
    assert [engine.patience_seconds for engine in engines] == [7]
    assert worker.patience_seconds is gateway.patience_seconds is None
