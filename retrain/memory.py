"""An executor in memory: the twin of those that start trainers."""

from pathlib import Path

from retrain.executor import TrainingState, TrainingStatus, unknown_training
from retrain.spec import read_spec


class MemoryExecutor:
    """The twin for tests: trainings are entries here, and a test says how each goes on."""

    def __init__(self) -> None:
        self.trainings: dict[str, TrainingStatus] = {}

    async def submit(self, spec_path: Path) -> str:
        """Note a running training, unless it runs."""
        read_spec(spec_path)
        handle = str(spec_path)
        status = self.trainings.get(handle)
        if status is None or status.state is not TrainingState.RUNNING:
            self.trainings[handle] = TrainingStatus(TrainingState.RUNNING)
        return handle

    async def find(self, spec_path: Path) -> str | None:
        """Return the handle of what was noted."""
        handle = str(spec_path)
        return handle if handle in self.trainings else None

    async def poll(self, handle: str) -> TrainingStatus:
        """Return what was said last."""
        if handle not in self.trainings:
            raise unknown_training(handle)
        return self.trainings[handle]

    async def cancel(self, handle: str) -> None:
        """Note a running training as cancelled."""
        status = await self.poll(handle)
        if status.state is TrainingState.RUNNING:
            self.trainings[handle] = TrainingStatus(TrainingState.CANCELLED, status.progress)
