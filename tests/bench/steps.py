"""CPU per call of each step of a request that waits for nothing: `python -m tests.bench.steps`.

A plain chat of 200 bytes, of a key whose every limit is set. One process, no socket; the journal
and the file of limits are real ones, in a temporary folder.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import msgspec

from gateway.auth import authenticate
from gateway.dialects.chat import CHAT
from gateway.inference.order import Order, make_order
from gateway.policy.fields import Asked, authorise
from gateway.quota.admission import Admission, Quotas
from gateway.quota.table import SharedTable
from monitoring.metrics import Metrics
from serving.ids import Signer
from serving.journal.answers import usage_of
from serving.journal.records import Begin, End
from serving.journal.writer import JournalWriter
from serving.routing.catalog import Alias, Catalog, MonthlyUsage, Principal, Quota, Release
from serving.routing.choose import Choice, choose
from serving.sections import JournalSettings, PoolSettings
from serving.types import InferenceStatus, PoolKind, Role, Task
from tests.bench.report import table

KEY: Final = "sk-strop-" + "k" * 43
BODY: Final = (
    b'{"model":"support","messages":[{"role":"system","content":"You are a friendly assistant of '
    b'a shop."},{"role":"user","content":"Where is my parcel?"}],"max_tokens":64,'
    b'"temperature":0.2,"user":"u1"}'
)
ANSWER: Final = (
    b'{"id":"chatcmpl-1","object":"chat.completion","model":"support-v1-0123abcd","choices":'
    b'[{"index":0,"message":{"role":"assistant","content":"On its way."},"finish_reason":"stop"}],'
    b'"usage":{"prompt_tokens":25,"completion_tokens":5,"total_tokens":30}}'
)
PLENTY: Final = 10**9
_ROUNDS: Final = 7


class Answer(msgspec.Struct):
    """What is read of an answer."""

    usage: dict[str, Any] | None = None


@dataclass(frozen=True)
class Stand:
    """What a gateway worker has, and one request at each of its stages."""

    catalog: Catalog
    principal: Principal
    quotas: Quotas
    signer: Signer
    pool: PoolSettings
    journal: JournalWriter
    metrics: Metrics
    asked: Asked
    choice: Choice
    order: Order


def main() -> None:
    """Measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="one object on stdout")
    parser.add_argument("--calls", type=int, default=5000, help="of each step in a round")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        stand = make_stand(Path(folder))
        figures = {name: cpu_us(call, options.calls) for name, call in steps(stand).items()}
        stand.journal.close()
        stand.quotas.table.close()
    figures["together"] = sum(figures.values())
    rows = [(name, round(figure, 2)) for name, figure in figures.items()]
    text = json.dumps(dict(rows)) if options.json else table(("step", "us CPU"), rows)
    sys.stdout.write(f"{text}\n")


def cpu_us(call: Callable[[], Any], num_calls: int) -> float:
    """Return microseconds of CPU per call in the best of some rounds: the machine does other things."""
    best = float("inf")
    for _ in range(_ROUNDS):
        began_at = time.process_time()
        for _ in range(num_calls):
            call()
        best = min(best, time.process_time() - began_at)
    return best / num_calls * 1e6


def make_stand(folder: Path) -> Stand:
    """Return a worker's parts and a request, decided."""
    quota = Quota(rpm=PLENTY, tpm=PLENTY, concurrency=1000, budget=10**15)
    principal = Principal(key_id="key_a", tenant="acme", role=Role.APP, quota=quota)
    release = Release(
        id=1, number=2, pool="default", adapter="support-v1-0123abcd", adapter_digest="d" * 64
    )
    alias = Alias(id=7, tenant="acme", name="support", task=Task.CHAT, champion=release)
    catalog = Catalog(
        principals={sha256(KEY.encode()).hexdigest(): principal},
        aliases={("acme", "support"): alias},
        usage=MonthlyUsage(),
    )
    signer = Signer({1: b"k" * 32})
    pool = PoolSettings(name="default", kind=PoolKind.VLLM)
    asked = authorise(CHAT, msgspec.json.decode(BODY))
    choice = choose(catalog, {}, principal, asked.model, "u1")
    return Stand(
        catalog=catalog,
        principal=principal,
        quotas=Quotas(SharedTable(folder / "limits")),
        signer=signer,
        pool=pool,
        journal=JournalWriter(folder / "journal", JournalSettings(), "bench"),
        metrics=Metrics(),
        asked=asked,
        choice=choice,
        order=order_of(signer, pool, principal, asked, choice),
    )


def order_of(
    signer: Signer, pool: PoolSettings, principal: Principal, asked: Asked, choice: Choice
) -> Order:
    """Decide what the engine is sent."""
    return make_order(
        signer=signer,
        pool=pool,
        endpoint=CHAT,
        principal=principal,
        asked=asked,
        choice=choice,
        conversation=None,
    )


def steps(stand: Stand) -> dict[str, Callable[[], Any]]:
    """Return the steps in the order of a request's life."""
    body, authorization = msgspec.json.decode(BODY), f"Bearer {KEY}"
    order, journal = stand.order, stand.journal
    begin, end = begin_of(order), end_of(order)
    answers = msgspec.json.Decoder(Answer)
    return {
        "authenticate": lambda: authenticate(stand.catalog, authorization),
        "authorise": lambda: authorise(CHAT, body),
        "choose": lambda: choose(stand.catalog, {}, stand.principal, stand.asked.model, "u1"),
        "make_order": lambda: order_of(
            stand.signer, stand.pool, stand.principal, stand.asked, stand.choice
        ),
        "order's headers and labels": lambda: (
            order.reply_lines,
            order.drops_usage,
            order.served,
        ),
        "admission": lambda: admit(stand),
        "journal: begin": lambda: journal.append(begin),
        "journal: end": lambda: journal.append(end),
        "usage": lambda: usage_of({"usage": answers.decode(ANSWER).usage}),
        "metrics": lambda: tell(stand),
    }


def admit(stand: Stand) -> None:
    """Take a place and give it back."""
    with Admission(stand.quotas, stand.principal, stand.catalog.usage, bytearray()) as admission:
        admission.reserve(stand.choice.alias, stand.order.num_tokens)
        admission.num_used = 30


def begin_of(order: Order) -> Begin:
    """Return the record of its beginning."""
    return Begin(
        id=order.inference_id,
        tenant=order.principal.tenant,
        key_id=order.principal.key_id,
        endpoint=order.endpoint.path,
        model=order.asked.model,
        pool=order.choice.pool,
        arm=order.choice.arm,
        propensity=order.choice.propensity,
        is_streamed=order.asked.is_streamed,
        is_trainable=True,
        request=order.body,
        alias_id=7,
        release_id=1,
        adapter=order.choice.adapter,
        adapter_digest="d" * 64,
        subject=order.asked.subject,
    )


def end_of(order: Order) -> End:
    """Return the record of its end."""
    return End(
        id=order.inference_id,
        status=InferenceStatus.OK,
        end_to_end_ms=12.5,
        http_status=200,
        replica="http://127.0.0.1:8000",
        response=ANSWER,
    )


def tell(stand: Stand) -> None:
    """Tell of a request from its start to its end."""
    metrics = stand.metrics.of(stand.order.served, stand.choice.pool)
    metrics.started()
    metrics.used_tokens(25, 5)
    metrics.ended(InferenceStatus.OK, 0.0125)


if __name__ == "__main__":
    main()
