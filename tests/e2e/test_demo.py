"""The demo, told to its end on real vLLM, as `strop demo` tells it; README shows what it drew."""

import json
import subprocess
import sys

import pytest

from tests.scale import Scale
from tests.stack import ROOT

CURVE = ROOT / "deploy" / "demo" / "curve.svg"
SECONDS = 3_600


@pytest.mark.prove
@pytest.mark.engine
@pytest.mark.timeout(SECONDS + 60)
def test_the_demo_keeps_its_promises(scale: Scale) -> None:
    """It ends with 0 only if every turn of the story came about; v2 is 20 points above v1."""
    told = subprocess.run(
        [sys.executable, "-m", "gateway.command.main", "demo", "--json", "--picture", str(CURVE)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert told.returncode == 0, told.stderr[-4000:]
    story = json.loads(told.stdout)
    scores = {row["phase"]: row["held_out_score"] for row in story["table"]}
    assert scores["v2"] >= scores["v1 after the change"] + 0.2
    scale.record(
        "demo",
        table=story["table"],
        num_answers=story["num_answers"],
        num_failures=story["num_failures"],
        num_steps=story["num_steps"],
        minutes=round(story["seconds"] / 60, 1),
    )
