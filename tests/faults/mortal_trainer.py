"""The real trainer, killed at the end of a step: `python mortal_trainer.py STEP SPEC`."""

import os
import signal
import sys
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"  # read when `Watch` brings torch in: before the trainer sets it

from retrain.train import main
from retrain.trainer.watch import Watch

last_step = int(sys.argv.pop(1))
on_step_end = Watch.on_step_end


def die_at_the_last_step(watch: Watch, args: Any, state: Any, control: Any, **more: Any) -> None:
    """Be killed where a training goes on."""
    on_step_end(watch, args, state, control, **more)
    if state.global_step == last_step:
        os.kill(os.getpid(), signal.SIGKILL)


Watch.on_step_end = die_at_the_last_step
main()
