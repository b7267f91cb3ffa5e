"""A trainer by the contract that learns nothing: it does what `orders` beside its spec says."""

import os
import signal
import sys
import time
from pathlib import Path

from retrain.spec import Exit, Progress, read_spec, report

spec_path = Path(sys.argv[1])
spec = read_spec(spec_path)
orders = spec_path.with_name("orders")
signal.signal(signal.SIGTERM, lambda *_: os._exit(Exit.CANCELLED))
num_followed = 0
while True:
    lines = orders.read_text().splitlines() if orders.exists() else []
    for line in lines[num_followed:]:
        num_followed += 1
        match line.split(maxsplit=1):
            case ["step", number]:
                report(Path(spec.progress_file), Progress(step=int(number), total_steps=9))
            case ["fail", words]:
                report(Path(spec.progress_file), Progress(error=words))
                sys.exit(Exit.FAILED)
            case ["tell-environment"]:
                report(Path(spec.progress_file), Progress(message=" ".join(os.environ)))
            case ["exit", code]:
                sys.exit(int(code))
            case ["ignore-term"]:
                signal.signal(signal.SIGTERM, signal.SIG_IGN)
                report(Path(spec.progress_file), Progress(message="ignoring SIGTERM"))
            case ["kill"]:
                os.kill(os.getpid(), signal.SIGKILL)
            case ["kill-all"]:
                os.killpg(os.getpgid(0), signal.SIGKILL)
    time.sleep(0.02)
