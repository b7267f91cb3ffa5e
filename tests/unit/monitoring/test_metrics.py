"""Metrics: built per worker, and added up over several."""

import subprocess
import sys
from pathlib import Path

from monitoring.metrics import Metrics, Served, forget_dead_processes
from serving.types import InferenceStatus

SERVED = Served(alias="support", release="2", arm="champion")
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


def test_two_workers_in_one_process_do_not_meet() -> None:
    """Nothing is global: each has its registry."""
    first, second = Metrics(), Metrics()
    first.ended(SERVED, "default", InferenceStatus.OK, 0.2)
    line = f'strop_requests_total{{{LABELS},status="ok"}} 1.0'
    assert line in first.render().decode()
    assert line not in second.render().decode()


def test_times_and_tokens_carry_alias_release_and_arm() -> None:
    """Everything about an answer is told per what answered."""
    metrics = Metrics()
    metrics.saw_first_token(SERVED, 0.02)
    metrics.saw_gap(SERVED, 0.01)
    metrics.used_tokens(SERVED, 7, 3)
    text = metrics.render().decode()
    for name in ("first_token", "inter_token"):
        assert f"strop_{name}_seconds_count{{{LABELS}}} 1.0" in text
    assert 'direction="prompt",release="2"} 7.0' in text
    assert 'direction="completion",release="2"} 3.0' in text


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
