"""Metrics: built per worker, told per what answered."""

from pathlib import Path

from prometheus_client import CollectorRegistry

from monitoring.ingest import IngestMetrics
from monitoring.metrics import Metrics, Served
from serving.types import InferenceStatus

ROOT = Path(__file__).parents[3]
SERVED = Served(tenant="acme", alias="support", release="2", arm="champion")
LABELS = 'alias="support",arm="champion",release="2"'


def test_two_workers_in_one_process_do_not_meet() -> None:
    """Nothing is global: each has its registry."""
    first, second = Metrics(), Metrics()
    first.ended(SERVED, "default", InferenceStatus.OK, 0.2)
    line = f'strop_requests_total{{{LABELS},status="ok",tenant="acme"}} 1.0'
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
        assert f'strop_{name}_seconds_count{{{LABELS},tenant="acme"}} 1.0' in text
    assert 'direction="prompt",release="2",tenant="acme"} 7.0' in text
    assert 'direction="completion",release="2",tenant="acme"} 3.0' in text


def names(registry: CollectorRegistry) -> set[str]:
    """Return the metrics' names as Prometheus knows them."""
    return {
        f"{family.name}_total" if family.type == "counter" else family.name
        for family in registry.collect()
    }


def test_every_metric_is_explained() -> None:
    """The room's README has a line for each; README names those of the gateway."""
    gateway, ingest = names(Metrics().registry), names(IngestMetrics().registry)
    room = (ROOT / "monitoring" / "README.md").read_text()
    assert {name for name in gateway | ingest if f"`{name}`" not in room} == set()
    readme = (ROOT / "README.md").read_text()
    assert {name for name in gateway if f"`{name}`" not in readme} == set()
