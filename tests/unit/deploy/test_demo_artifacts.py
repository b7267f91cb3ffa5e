"""The committed base and adapter are whole, small, and free of this or any machine's paths."""

import json
from hashlib import sha256
from pathlib import Path

import pytest

DEMO = Path(__file__).parents[3] / "deploy" / "demo"
FOLDERS = ("base", "adapter")
LIMIT_BYTES = 12_000_000


@pytest.mark.parametrize("name", FOLDERS)
def test_checksums_cover_every_file(name: str) -> None:
    """SHA256SUMS names every file of the folder but itself, and every sum is right."""
    lines = (DEMO / name / "SHA256SUMS").read_text().splitlines()
    listed = {file: digest for digest, file in (line.split("  ") for line in lines)}
    present = {p.name: sha256(p.read_bytes()).hexdigest() for p in (DEMO / name).iterdir()}
    present.pop("SHA256SUMS")
    assert listed == present


@pytest.mark.parametrize("name", FOLDERS)
def test_weights_are_small_safetensors(name: str) -> None:
    """A folder holds one safetensors file of at most 12 MB and no pickled weights."""
    weights = [*(DEMO / name).glob("*.safetensors")]
    assert len(weights) == 1
    assert weights[0].stat().st_size <= LIMIT_BYTES
    assert not [*(DEMO / name).glob("*.bin"), *(DEMO / name).glob("*.pt")]


def test_the_adapter_names_its_base_without_a_path() -> None:
    """Another machine has no such path: the base is known by its name."""
    config = json.loads((DEMO / "adapter" / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == "strop-demo-base"
    assert config["r"] == 16


def test_the_base_stops_at_the_end_of_a_message() -> None:
    """The engine reads from generation_config that `<|end|>` ends an answer."""
    tokens = json.loads((DEMO / "base" / "tokenizer.json").read_text())["added_tokens"]
    ids = {token["content"]: token["id"] for token in tokens}
    generation = json.loads((DEMO / "base" / "generation_config.json").read_text())
    assert generation["eos_token_id"] == ids["<|end|>"]
