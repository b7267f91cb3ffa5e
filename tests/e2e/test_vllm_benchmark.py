"""vLLM's own serving benchmark, unmodified, against the gateway instead of an engine."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.scale import Scale
from tests.stack import BASE_MODEL, Stack

# `vllm bench serve` without the console command, which the CPU build lacks parts of.
PROGRAM = """
import json, sys
from vllm.benchmarks.serve import add_cli_args, main
from vllm.utils.argparse_utils import FlexibleArgumentParser
parser = FlexibleArgumentParser()
add_cli_args(parser)
for arguments in json.loads(sys.argv[1]):
    main(parser.parse_args(arguments))
"""
BACKENDS = {
    "openai": "/v1/completions",
    "openai-chat": "/v1/chat/completions",
    "openai-responses": "/v1/responses",
}


def test_vllms_own_benchmark_finds_nothing_amiss(
    stack: Stack, tmp_path: Path, scale: Scale
) -> None:
    """Each dialect that it speaks: every prompt is answered, token by token."""
    num_prompts = scale.count(20, full=200)
    runs = [arguments(stack, tmp_path, backend, num_prompts) for backend in BACKENDS]
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, json.dumps(runs)],
        env={**os.environ, "OPENAI_API_KEY": stack.key, "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    for backend in BACKENDS:
        found: dict[str, Any] = json.loads((tmp_path / f"{backend}.json").read_text())
        assert (found["completed"], found["failed"]) == (num_prompts, 0), done.stdout[-4000:]
        assert found["total_output_tokens"] > num_prompts
        assert found["mean_ttft_ms"] > 0


def arguments(stack: Stack, folder: Path, backend: str, num_prompts: int) -> list[str]:
    """Return what its user would write on the command line."""
    return [
        *("--backend", backend, "--base-url", stack.url, "--endpoint", BACKENDS[backend]),
        *("--model", "support", "--tokenizer", str(BASE_MODEL)),
        *("--dataset-name", "random", "--input-len", "16", "--output-len", "8"),
        *("--num-prompts", str(num_prompts), "--max-concurrency", "8"),
        *("--save-result", "--result-dir", str(folder), "--result-filename", f"{backend}.json"),
        "--disable-tqdm",
    ]
