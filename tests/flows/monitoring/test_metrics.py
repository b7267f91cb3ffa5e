"""Metrics of several workers, each a process of its own: they are added up."""

import subprocess
import sys
from pathlib import Path

from monitoring.metrics import forget_dead_processes

LABELS = 'alias="support",arm="champion",release="2"'

WORKER = """
from monitoring.metrics import Metrics, Served
from serving.types import InferenceStatus
metrics, served = Metrics(), Served("support", "2", "champion")
metrics.started("default")
metrics.started("default")
metrics.ended(served, "default", InferenceStatus.OK, 0.1)
print(metrics.render().decode())
"""


def test_workers_add_up_and_the_dead_hold_nothing(tmp_path: Path) -> None:
    """Any worker answers for all; a killed one's requests in flight are forgotten."""

    def run(code: str) -> str:
        environment = {"PROMETHEUS_MULTIPROC_DIR": str(tmp_path), "PATH": ""}
        command = [sys.executable, "-c", code]
        return subprocess.run(
            command, env=environment, check=True, capture_output=True, text=True
        ).stdout

    run(WORKER)
    text = run(WORKER)
    assert f'strop_requests_total{{{LABELS},status="ok"}} 2.0' in text
    assert 'strop_in_flight{pool="default"} 2.0' in text
    forget_dead_processes(tmp_path)
    text = run("from monitoring.metrics import Metrics; print(Metrics().render().decode())")
    assert f'strop_requests_total{{{LABELS},status="ok"}} 2.0' in text
    assert 'strop_in_flight{pool="default"}' not in text
