"""Metrics: built per worker, told per what answered."""

import asyncio
import errno
from collections.abc import Iterable
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.mmap_dict import MmapedDict, mmap_key

from monitoring import series
from monitoring.ingest_metrics import IngestMetrics
from monitoring.metrics import MULTIPROCESS_VARIABLE, Metrics, Served
from monitoring.series import Seconds
from serving.types import InferenceStatus

ROOT = Path(__file__).parents[3]
SERVED = Served(tenant="acme", alias="support", release="2", arm="champion")
LABELS = 'alias="support",arm="champion",release="2"'


def test_two_workers_in_one_process_do_not_meet() -> None:
    """Nothing is global: each has its registry."""
    first, second = Metrics(), Metrics()
    first.of(SERVED, "default").ended(InferenceStatus.OK, 0.2)
    line = f'strop_requests_total{{{LABELS},status="ok",tenant="acme"}} 1.0'
    assert line in first.render().decode()
    assert line not in second.render().decode()


def test_times_and_tokens_carry_alias_release_and_arm() -> None:
    """Everything about an answer is told per what answered."""
    metrics = Metrics()
    served = metrics.of(SERVED, "default")
    served.saw_first_token(0.02)
    served.saw_gap(0.01)
    served.used_tokens(7, 3)
    text = metrics.render().decode()
    for name in ("first_token", "inter_token"):
        assert f'strop_{name}_seconds_count{{{LABELS},tenant="acme"}} 1.0' in text
    assert 'direction="prompt",release="2",tenant="acme"} 7.0' in text
    assert 'direction="completion",release="2",tenant="acme"} 3.0' in text


def test_a_disk_that_takes_no_metrics_costs_neither_memory_nor_truth(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What is told meanwhile is bounded, and what could not be handed on counts once at most."""

    def refuse(self: Seconds, counts: Iterable[int], total: float) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(series, "_MOST_DURATIONS", 10)
    metrics = Metrics()
    served = metrics.of(SERVED, "default")
    with monkeypatch.context() as full:
        full.setattr(Seconds, "observe_all", refuse)
        for _ in range(3):
            for _ in range(100):
                served.saw_first_token(0.02)
                served.saw_gap(0.01)
            with pytest.raises(OSError, match="No space"):
                metrics.publish()
    text = metrics.render().decode()
    assert f'strop_inter_token_seconds_count{{{LABELS},tenant="acme"}} 10.0' in text
    assert f'strop_first_token_seconds_count{{{LABELS},tenant="acme"}} 0.0' in text


async def test_publishing_goes_on_after_a_full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever asks another worker hears of this one again."""
    metrics, tries = Metrics(), []
    is_enough = asyncio.Event()

    def fail_first() -> None:
        tries.append(1)
        if len(tries) == 1:
            raise OSError(errno.ENOSPC, "No space left on device")
        is_enough.set()

    monkeypatch.setattr(metrics, "publish", fail_first)
    monkeypatch.setattr("monitoring.metrics._PUBLISH_SECONDS", 0)
    running = asyncio.create_task(metrics.run())
    async with asyncio.timeout(20):
        await is_enough.wait()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


def test_what_is_told_is_added_up_until_somebody_looks() -> None:
    """Each observation falls into its bucket, bounds included, and counts once however often one looks."""
    metrics = Metrics()
    served = metrics.of(SERVED, "default")
    for seconds in (0.001, 0.01, 0.015, 0.02, 7):
        served.saw_gap(seconds)
    served.started()
    for _ in range(2):
        text = metrics.render().decode()
        for bound, count in (("0.0025", 1), ("0.01", 2), ("0.02", 4), ("5.0", 4), ("+Inf", 5)):
            line = f'strop_inter_token_seconds_bucket{{alias="support",arm="champion",le="{bound}",'
            assert f'{line}release="2",tenant="acme"}} {count}.0' in text
        assert f'strop_inter_token_seconds_sum{{{LABELS},tenant="acme"}} 7.046' in text
        assert 'pool="default",release="2",tenant="acme"} 1.0' in text
    served.ended(InferenceStatus.OK, 0.2)
    text = metrics.render().decode()
    assert f'strop_end_to_end_seconds_count{{{LABELS},status="ok",tenant="acme"}} 1.0' in text
    assert 'pool="default",release="2",tenant="acme"} 0.0' in text


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


def test_a_file_that_a_worker_has_only_just_made_breaks_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is empty for a moment, and whoever asks just then reads what the others wrote."""
    written = MmapedDict(str(tmp_path / "counter_1.db"))
    written.write_value(mmap_key("strop_shed", "strop_shed_total", [], [], "Shed."), 3, 0)
    written.close()
    (tmp_path / "counter_2.db").touch()
    monkeypatch.setenv(MULTIPROCESS_VARIABLE, str(tmp_path))
    assert b"strop_shed_total 3.0" in Metrics().render()
