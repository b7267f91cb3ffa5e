"""Metrics of several workers, each a process of its own: they are added up."""

import subprocess
import sys
from pathlib import Path

LABELS = 'alias="support",arm="champion",release="2",status="ok",tenant="acme"'
GAUGE = 'strop_in_flight{alias="support",arm="champion",pool="default",release="2",tenant="acme"}'

WORKER = """
from monitoring.metrics import Metrics, Served
from serving.types import InferenceStatus
metrics, served = Metrics(), Served("acme", "support", "2", "champion")
metrics.started(served, "default")
metrics.started(served, "default")
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
    assert f"strop_requests_total{{{LABELS}}} 2.0" in text
    assert f"{GAUGE} 1.0" in text
