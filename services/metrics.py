"""Metrics as Prometheus reads them: what a tracker and an intake count, and the exposition of any others."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from importlib.metadata import version
from itertools import accumulate, product
from math import inf
from typing import Any, Final, Literal, TypeVar

from prometheus_client import (
    CONTENT_TYPE_PLAIN_0_0_4,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
    start_http_server,
)
from prometheus_client.core import GaugeHistogramMetricFamily, GaugeMetricFamily
from prometheus_client.core import Metric as Family
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from events.codec import RefusalReason
from events.contracts import ResponseKind, SubmissionKind
from events.topics import TOPICS
from services.business import Labels, Shown, Spread
from services.catalogue import CATALOGUE, words
from services.claim import State
from services.database import innermost, sqlstate
from services.intake.facts import Finding
from services.intake.files import Tally
from services.positions import GapKind, Outcome, Reason
from services.settings import BadSetting, variable
from services.store import Phase, Written
from services.timing import DAY_S, EDGES_DAYS

BatchPhase = Literal["decode"] | Phase
IntakeOutcome = Literal["published", "refused", "failed"]
RetryKind = Literal["connection", "collision", "timeout", "resource", "other"]
T = TypeVar("T", Counter, Gauge, Histogram)

# Batches take from milliseconds (a trickle) to seconds (a backlog); beyond, something holds them up.
BATCH_EDGES_S: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
BATCH_EDGES_RECORDS: Final = (1, 3, 10, 30, 100, 300, 1_000, 2_000, 3_000, 5_000, 10_000, 50_000)
# When a series was made is one more series for each, and nobody asks.
disable_created_metrics()  # type: ignore[no-untyped-call]


TRACKER: Final = CollectorRegistry()
INTAKE: Final = CollectorRegistry()
WATCH: Final = CollectorRegistry()
API: Final = CollectorRegistry()


def _new(kind: type[T], name: str, registry: CollectorRegistry = TRACKER, **options: Any) -> T:  # noqa: ANN401  (the options of a metric)
    metric = CATALOGUE[name]
    return kind(name, metric.meaning, metric.labels, registry=registry, **options)


def _by(family: T, values: Iterable[str]) -> dict[str, T]:
    """Bind each value of the only label: looking a label up costs three times as much as counting."""
    return {value: family.labels(value) for value in values}


def _by_two(family: T, first: Iterable[str], second: Iterable[str]) -> dict[tuple[str, str], T]:
    return {pair: family.labels(*pair) for pair in product(first, second)}


RECORDS: Final = _by_two(_new(Counter, "claimpath_records_total"), TOPICS, words(Outcome))
TRANSITIONS: Final = _by_two(_new(Counter, "claimpath_transitions_total"), ("none", *words(State)), words(State))
CORRECTIONS: Final = _new(Counter, "claimpath_corrections_total")
CONFLICTS: Final = _new(Counter, "claimpath_conflicts_total")
REFUSALS: Final = _by_two(_new(Counter, "claimpath_refusals_total"), TOPICS, words(Reason))
SECONDS_BEHIND: Final = _by(_new(Gauge, "claimpath_seconds_behind"), TOPICS)
LAG_RECORDS: Final = _by(_new(Gauge, "claimpath_lag_records"), TOPICS)
BATCH_SECONDS: Final = _by(_new(Histogram, "claimpath_batch_seconds", buckets=BATCH_EDGES_S), words(BatchPhase))
BATCH_RECORDS: Final = _new(Histogram, "claimpath_batch_records", buckets=BATCH_EDGES_RECORDS)
RETRIES: Final = _by(_new(Counter, "claimpath_retries_total"), words(RetryKind))
GAPS: Final = _by(_new(Counter, "claimpath_gaps_total"), words(GapKind))
GENERATIONS: Final = _new(Counter, "claimpath_generations_total")
LAST_PROGRESS: Final = _new(Gauge, "claimpath_tracker_last_progress_timestamp_seconds")
INTAKE_EVENTS: Final = _by(_new(Counter, "claimpath_intake_events_total", INTAKE), words(IntakeOutcome))
WATCH_EVENTS: Final = _by(
    _new(Counter, "claimpath_intake_file_events_total", WATCH), (*words(SubmissionKind), *words(ResponseKind))
)
WATCH_FILES: Final = _by(_new(Counter, "claimpath_intake_files_total", WATCH), ("done", "failed"))
WATCH_FINDINGS: Final = _by(_new(Counter, "claimpath_intake_findings_total", WATCH), words(Finding))
WATCH_UNKNOWN_REASONS: Final = _new(Counter, "claimpath_intake_unknown_reasons_total", WATCH)
WATCH_WAITING: Final = _new(Gauge, "claimpath_intake_waiting_files", WATCH)
WATCH_OLDEST_S: Final = _new(Gauge, "claimpath_intake_waiting_oldest_seconds", WATCH)
INTAKE_REFUSALS: Final = _by(_new(Counter, "claimpath_intake_refusals_total", INTAKE), words(RefusalReason))


def batch_phase(phase: BatchPhase) -> AbstractContextManager[object]:
    """Time a phase of a batch."""
    return BATCH_SECONDS[phase].time()


def wrote(written: Written) -> None:
    """Count what one transaction did."""
    records = 0
    for place, counts in written.counts.items():
        for outcome, n in counts._asdict().items():
            RECORDS[_topic(place.topic), outcome].inc(n)
            records += n
    BATCH_RECORDS.observe(records)
    for (topic, reason), n in written.refusals.items():
        REFUSALS[_topic(topic), reason].inc(n)
        if reason == "conflict":
            CONFLICTS.inc(n)
    for (before, after), n in written.transitions.items():
        TRANSITIONS[before or "none", after].inc(n)
    for kind, n in written.gaps.items():
        GAPS[kind].inc(n)
    CORRECTIONS.inc(written.corrections)


def took_in(outcome: IntakeOutcome, refusal: RefusalReason | None = None) -> None:
    """Count an event that an intake was given, and why it was refused where it was."""
    INTAKE_EVENTS[outcome].inc()
    if refusal is not None:
        INTAKE_REFUSALS[refusal].inc()


def took_file(tally: Tally) -> None:
    """Count a file of X12 that was read to its end, and what it held."""
    WATCH_FILES["failed" if tally.refused else "done"].inc()
    for event, n in tally.events.items():
        WATCH_EVENTS[event].inc(n)
    for finding, n in tally.findings.items():
        WATCH_FINDINGS[finding].inc(n)
    WATCH_UNKNOWN_REASONS.inc(tally.findings["unknown_reason"])


def waits(ages_s: Sequence[float]) -> None:
    """Show how many files wait, and for how long."""
    WATCH_WAITING.set(len(ages_s))
    WATCH_OLDEST_S.set(max(ages_s, default=0.0))


def retried(error: BaseException) -> None:
    """Count an attempt that is made again, by what kept it from succeeding."""
    RETRIES[_retry_kind(error)].inc()


def serve_tracker(host: str, port: int) -> None:
    """Serve the tracker's metrics from a thread of their own, so that a busy event loop still answers.

    Raises BadSetting where it cannot listen there.
    """
    _serve(TRACKER, variable("tracker_listen"), host, port)


def serve_watch(host: str, port: int) -> None:
    """Serve the metrics of a watched folder, as above."""
    _serve(WATCH, variable("watch_listen"), host, port)


def _serve(registry: CollectorRegistry, name: str, host: str, port: int) -> None:
    try:
        start_http_server(port, host, registry)
    except OSError as error:
        raise BadSetting(f"{name}: cannot listen on {host}:{port} ({error.strerror}).") from None


class _Together(Collector):
    """The API process's own metrics, and those read for this scrape."""

    def __init__(self, families: Sequence[Family]) -> None:
        self._families = families

    def collect(self) -> Iterator[Family]:
        """Yield every family."""
        yield from API.collect()
        yield from self._families


def expose_business(metrics: Shown, accept: str) -> tuple[bytes, str]:
    """Return the API process's metrics and their media type: OpenMetrics where the caller takes it, else plain text."""
    families = [*map(_gauge, metrics.gauges.items()), *map(_gauge_histogram, metrics.spreads.items())]
    return _exposed(_Together(families), accept)


def expose_intake(accept: str) -> tuple[bytes, str]:
    """Return the intake process's metrics and their media type, as above."""
    return _exposed(INTAKE, accept)


def _exposed(collector: Collector, accept: str) -> tuple[bytes, str]:
    if "application/openmetrics-text" in accept:
        return openmetrics.generate_latest(collector), openmetrics.CONTENT_TYPE_LATEST  # type: ignore[no-untyped-call]
    return generate_latest(collector), CONTENT_TYPE_PLAIN_0_0_4


def _gauge(metric: tuple[str, Mapping[Labels, float]]) -> Family:
    name, series = metric
    family = GaugeMetricFamily(name, CATALOGUE[name].meaning, labels=CATALOGUE[name].labels)
    for labels, value in series.items():
        family.add_metric(labels, value)
    return family


def _gauge_histogram(metric: tuple[str, Mapping[Labels, Spread]]) -> Family:
    name, series = metric
    family = GaugeHistogramMetricFamily(name, CATALOGUE[name].meaning, labels=CATALOGUE[name].labels)
    for labels, (buckets, seconds) in series.items():
        family.add_metric(labels, list(zip(_EDGES, accumulate(buckets), strict=True)), seconds)
    return family


def _topic(topic: str) -> str:
    """Return the topic without the prefix that this installation gives it."""
    return next(name for name in TOPICS if topic.endswith(name))


def _retry_kind(error: BaseException) -> RetryKind:
    told, state = innermost(error), sqlstate(error) or ""
    for kind, starts in _SQLSTATES.items():
        if state.startswith(starts):
            return kind
    if isinstance(told, TimeoutError):
        return "timeout"
    # Drivers call it an InterfaceError when the connection was lost before the statement.
    lost = isinstance(told, OSError) or type(told).__name__ == "InterfaceError"
    return "connection" if lost else "other"


# Source: PostgreSQL documentation, appendix A. Query cancelled is how a statement's time limit ends it.
_SQLSTATES: Final[dict[RetryKind, tuple[str, ...]]] = {
    "timeout": ("57014", "55P03", "25P0"),
    "connection": ("08", "57P"),
    "collision": ("40", "23505"),
    "resource": ("53", "58"),
}
_EDGES: Final = [floatToGoString(edge) for edge in (*(days * DAY_S for days in EDGES_DAYS), inf)]  # type: ignore[no-untyped-call]

for _registry in (TRACKER, INTAKE, WATCH, API):
    ProcessCollector(registry=_registry)
    Info("claimpath_build", CATALOGUE["claimpath_build_info"].meaning, registry=_registry).info(
        {"version": version("claimpath")}
    )
