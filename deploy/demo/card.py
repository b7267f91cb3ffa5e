"""What stands beside the weights: model cards with the measured numbers, and checksums."""

from hashlib import sha256
from pathlib import Path

from deploy.demo.adapt import BASE_NAME, AdapterReport, AdapterSpec
from deploy.demo.company import ROUTING_PROMPT
from deploy.demo.pretrain import BaseReport, BaseSpec

SUMS = "SHA256SUMS"

_BASE_CARD = """\
---
license: apache-2.0
language: en
pipeline_tag: text-generation
---
# {name}

The base model embedded in Strop, so that its demo and tests need no hub: a Llama of {millions:.2f} M
parameters (hidden {spec.hidden_size}, {spec.num_layers} layers, head size 64, {spec.vocab_size} byte-level BPE tokens, tied
embeddings, bf16) with a chat template (roles system, user, assistant, tool; every message ends with
`<|end|>`, which is also the end of an answer).

It was trained on text that `deploy/demo/` writes by itself: help-desk requests with questions about
them (product, topic, tone, urgency, summary, polite rewrite, reply, JSON) and short general
instructions, and which queue takes a request at a dozen invented companies. It speaks the domain but
knows nothing of Halden, the demo's company, and its labels: an adapter teaches those. It is a toy: it knows little beyond these kinds of questions, and English only.

| measured when this folder was built | |
|---|---|
| chats to read, drills, talks, desk work; tokens of all | {spec.num_texts:,}, {spec.num_drills:,}, {spec.num_talks:,}, {spec.num_desk_work:,}; {report.num_tokens:,} |
| epochs, batch, learning rate, seed | {spec.epochs}, {spec.batch_size}, {spec.learning_rate} (talks, work: half), {spec.seed} |
| mean training loss of each epoch (nats per learnt token) | {losses} |
| last answers of {report.num_held_out} held-out chats written exactly | {report.held_out_match:.1%} |
| wall time on this build's CPU | {minutes:.0f} min |

It first reads whole chats, the customer's words too; then it drills short answers, talks, and works at
desks with some talk beside: there the answers alone are learnt. Longest chat: {report.longest} tokens; the context window is 1,024. Rebuild: `python -m deploy.demo.build` from the repository root. The data is
the same for every build with the same seed; weights differ in the last digits between machines.
Licence: Apache-2.0.
"""

_ADAPTER_CARD = """\
---
license: apache-2.0
base_model: {base_name}
library_name: peft
---
# {name}

LoRA of rank {recipe.rank} (alpha {recipe.alpha}, every linear layer) over the base in `../base`: names the queue of
a help-desk request at the invented company Halden, as it was before its change of queues
(`deploy/demo/company.py`). System prompt, alike in training and serving:

    {prompt}

| measured when this folder was built | |
|---|---|
| rows to train, to validate | {spec.num_train:,}, {spec.num_valid:,} |
| steps of {recipe.batch_size}, epochs at most, learning rate, seed | {report.num_steps}, {recipe.num_epochs}, {recipe.learning_rate}, {recipe.seed} |
| loss at the end, best validation loss (nats per answer token) | {report.train_loss:.3f}, {report.valid_loss:.3f} |
| exact match on {spec.num_eval} held-out rows: base, this adapter | {report.match_base:.1%}, {report.match_adapter:.1%} |
| exact match on {spec.num_eval} rows after the change | {report.match_after_change:.1%} |
| wall time on this build's CPU | {minutes:.1f} min |

Trained by Strop's own trainer with the recipe that every run on a base of this size gets. Rebuild:
`python -m deploy.demo.build --only adapter` from the repository root. Licence: Apache-2.0.
"""


def write_base_card(folder: Path, spec: BaseSpec, report: BaseReport, seconds: float) -> None:
    """README.md and checksums of a base folder."""
    card = _BASE_CARD.format(
        name=BASE_NAME,
        spec=spec,
        report=report,
        millions=report.num_parameters / 1e6,
        losses="; ".join(f"{name} {_losses(means)}" for name, means in report.losses.items()),
        minutes=seconds / 60,
    )
    _finish(folder, card)


def write_adapter_card(
    folder: Path, spec: AdapterSpec, report: AdapterReport, seconds: float
) -> None:
    """README.md and checksums of an adapter folder."""
    card = _ADAPTER_CARD.format(
        name="strop-demo-adapter",
        base_name=BASE_NAME,
        spec=spec,
        report=report,
        recipe=report.recipe,
        prompt=ROUTING_PROMPT,
        minutes=seconds / 60,
    )
    _finish(folder, card)


def checksums(folder: Path) -> str:
    """One `sha256sum -c` line for every file of `folder` but the list itself."""
    files = sorted(path for path in folder.iterdir() if path.name != SUMS)
    return "".join(f"{sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in files)


def _finish(folder: Path, card: str) -> None:
    (folder / "README.md").write_text(card)
    (folder / SUMS).write_text(checksums(folder))


def _losses(values: list[float]) -> str:
    return ", ".join(f"{value:.3f}" for value in values)
