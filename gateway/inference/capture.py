"""The record of one request: begun before the engine hears of it, ended exactly once."""

import logging
import time
from types import TracebackType

from gateway.http.exchange import Exchange
from gateway.inference.event_times import EventTimes
from gateway.inference.events import EventFilter
from gateway.inference.kept import Kept
from gateway.inference.meter import Meter
from gateway.inference.order import BYTES_PER_TOKEN, Order
from gateway.inference.usage import read_usage
from gateway.quota.admission import Admission
from gateway.runtime import Runtime
from gateway.tracing.trace import Trace
from serving.errors import StropError
from serving.journal.answers import Usage
from serving.journal.records import Begin, End
from serving.types import InferenceStatus

logger = logging.getLogger("strop.gateway")


class Capture:
    """Watches one request: `with capture:` is its life.

    Entering writes Begin, which may refuse (a full journal). Leaving writes End unless `finish`
    did, with the status that the exception tells. A key with `no_log` leaves metrics only.

    Raises:
        UnavailableError: on entering: the journal takes no more.
        PayloadTooLargeError: on entering: the request is longer than a record may be.
    """

    def __init__(
        self,
        runtime: Runtime,
        order: Order,
        exchange: Exchange,
        admission: Admission,
        trace: Trace,
    ) -> None:
        self.stream: EventFilter | None = None
        """The answer's events, once it is known to be a stream."""
        self.whole: bytes | None = None
        """An answer in one piece, once all of it is here."""
        self.trace = trace
        self.served = order.served
        self._served_metrics = runtime.metrics.of(self.served, order.choice.pool)
        self._order = order
        self._exchange = exchange
        self._admission = admission
        self._journal = runtime.journal
        self._metrics = runtime.metrics
        self._traffic = runtime.traffic
        self._begun_at = time.monotonic()
        self._replica: str | None = None
        self._meters: tuple[Meter, ...] = ()
        self._http_status: int | None = None
        self._kept = Kept(runtime.settings.journal.max_record_bytes)
        self.got = self._kept.add if order.is_logged else _drop
        """Keeps bytes that came from the engine, as many as a record takes."""
        self._times = EventTimes(self._begun_at, self._served_metrics, trace)
        self.got_event = self._times.add
        """Times an event of a stream; several that came at once count as one."""
        self._is_finished = False

    def __enter__(self) -> "Capture":
        if self._order.is_logged:
            self._journal.append(_begin(self._order))
        self._traffic.enter(self._order.choice.adapter)
        self._served_metrics.started()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            if not self._is_finished:
                self.finish(self._status_after(error), _words(error))
        finally:
            self._traffic.leave(self._order.choice.adapter)

    async def secure(self) -> None:
        """Return when what is recorded so far survives what `journal.durability` promises.

        Raises:
            UnavailableError: the disk failed.
        """
        if self._order.is_logged:
            await self._journal.flush()

    def goes_to(self, replica: str, meter: Meter | None) -> None:
        """Keep which replica is asked, and what measures its time, if that has a price."""
        self._replica = replica
        self._http_status = None
        if meter is not None:
            self._meters += (meter,)

    def answered(self, http_status: int) -> None:
        """Keep the engine's status."""
        self._http_status = http_status
        self.trace.call_answered(http_status)

    def finish(self, status: InferenceStatus, error: str | None = None) -> None:
        """Write End. Called before the answer's last bytes leave: what a client saw whole is
        recorded as whole, even if this process is killed a moment later.

        Args:
            status: how it ended.
            error: for people who read the record.
        """
        self._is_finished = True
        seconds = time.monotonic() - self._begun_at
        self._served_metrics.ended(status, seconds)
        self.trace.ended(status)
        if self._order.endpoint.is_recorded:
            self._charge(status)
        busy_ms = self._count_time() if self._meters else None
        if self._order.is_logged:
            self._write_end(status, error, seconds, busy_ms)

    def stop_meters(self) -> None:
        """Measure no further: the replica has done its part."""
        for meter in self._meters:
            meter.stop()

    def _count_time(self) -> float:
        """Count what the replicas' time costs, those that were tried in vain too; return it, ms."""
        self.stop_meters()
        for meter in self._meters:
            self._served_metrics.cost(meter.cost)
        return sum(meter.busy_ms for meter in self._meters)

    def _write_end(
        self, status: InferenceStatus, error: str | None, seconds: float, busy_ms: float | None
    ) -> None:
        times = self._times
        if self.whole is None:
            response = self._kept.content()
        else:
            # What came in one piece may be too long for a record until the endpoint shortens it.
            response = self._order.endpoint.to_record(self.whole)
        end = End(
            id=self._order.inference_id,
            status=status,
            end_to_end_ms=seconds * 1000,
            http_status=self._http_status,
            error=error,
            replica=self._replica,
            response=response,
            is_sse=self.stream is not None,
            first_token_ms=times.first_ms,
            inter_token_mean_ms=times.mean_gap_ms,
            inter_token_max_ms=times.max_gap_ms,
            busy_ms=busy_ms,
        )
        try:
            self._journal.append(end)
        except StropError:
            # The answer is there and must not fail for its record; ingest marks the request.
            logger.exception("The end of %s could not be recorded", self._order.inference_id)
            self._metrics.failed("journal")

    def _status_after(self, error: BaseException | None) -> InferenceStatus:
        if isinstance(error, StropError):
            return InferenceStatus.UPSTREAM_ERROR
        if self._exchange.is_gone:
            return InferenceStatus.CLIENT_ABORTED
        return InferenceStatus.INTERRUPTED

    def _charge(self, status: InferenceStatus) -> None:
        """Count tokens as the engine did. Where it has not, estimate: hanging up before the usage
        comes, or an engine that never tells it, would else be a way around every quota.
        """
        told = self.stream.usage if self.stream else self.whole
        usage = Usage() if told is None else self._read_usage(told)
        if usage.prompt_tokens is not None:
            completion = usage.completion_tokens or 0
            self._admission.num_used = usage.prompt_tokens + completion
            self._served_metrics.used_tokens(usage.prompt_tokens, completion)
            self.trace.used_tokens(usage.prompt_tokens, completion)
        elif status in (InferenceStatus.CLIENT_ABORTED, InferenceStatus.OK):
            said = len(self.whole or b"") // BYTES_PER_TOKEN
            num_said = self.stream.num_events if self.stream else said
            self._admission.num_used = self._order.num_prompt_tokens + num_said

    def _read_usage(self, told: bytes) -> Usage:
        try:
            return read_usage(told)
        except (ValueError, RecursionError):
            logger.warning("The engine's usage is not readable: %s", self._order.inference_id)
            self._metrics.failed("usage")
            return Usage()


def _drop(piece: bytes) -> None:
    """Keep nothing of an answer that is not logged."""


def _begin(order: Order) -> Begin:
    choice, principal = order.choice, order.principal
    alias, release = choice.alias, choice.release
    return Begin(
        id=order.inference_id,
        tenant=principal.tenant,
        key_id=principal.key_id,
        endpoint=order.endpoint.path,
        model=order.asked.model,
        pool=choice.pool,
        arm=choice.arm,
        propensity=choice.propensity,
        is_streamed=order.asked.is_streamed,
        is_trainable=principal.is_trainable,
        request=order.body,
        alias_id=alias.id if alias else None,
        release_id=release.id if release else None,
        adapter=choice.adapter,
        adapter_digest=release.adapter_digest if release else None,
        canary_revision=alias.canary_revision if alias else 0,
        subject=order.asked.subject,
        conversation=order.conversation,
    )


def _words(error: BaseException | None) -> str:
    if error is None:
        return "the request ended without an answer"
    cause = f" ({error.__cause__!r})" if error.__cause__ else ""
    return f"{str(error) or type(error).__name__}{cause}"
