"""Engines in memory that behave oddly: slow, counting, broken."""

import asyncio

from serving.fleet.memory import MemoryEngine


class SlowEngine(MemoryEngine):
    """An engine on which the probe of one adapter hangs until it may answer."""

    def __init__(self, url: str, slow: str) -> None:
        super().__init__(url)
        self.slow = slow
        self.may_answer = asyncio.Event()
        self.probes: list[str] = []
        self.num_cut_off = 0

    async def probe(self, model: str) -> None:
        self.probes.append(model)
        if model == self.slow:
            try:
                await self.may_answer.wait()
            except asyncio.CancelledError:
                self.num_cut_off += 1
                raise
        await super().probe(model)


class CountingEngine(MemoryEngine):
    """An engine that counts how often it is looked at."""

    num_looks = 0

    async def is_healthy(self) -> bool:
        self.num_looks += 1
        return True


class BrokenEngine(MemoryEngine):
    """An engine whose list is an error, ours or not."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.error: Exception = KeyError("data")
        self.is_asked = asyncio.Event()

    async def list_adapters(self) -> dict[str, str]:
        self.is_asked.set()
        raise self.error
