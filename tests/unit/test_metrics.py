"""The catalogue of metrics, and that what Prometheus reads is what the catalogue says."""

import socket
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client import Metric as Family
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from prometheus_client.parser import text_string_to_metric_families as plain_families

from services import metrics
from services.business import MAX_LABEL_CHARS, Labels, Shown, Spread, shown
from services.catalogue import BUSINESS, CATALOGUE, INTAKE, TRACKER, WATCH, Metric, page
from services.positions import Counts, Place
from services.queries import Ages, Business, Count
from services.settings import BadSetting
from services.store import Written
from services.timing import EDGES_DAYS

NOTHING = Business([], [], [], [], [], 0.0, 0.0)
OPENMETRICS = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,text/plain;q=0.2"
TYPES = {
    "counter": "counter",
    "gauge": "gauge",
    "histogram": "histogram",
    "gauge histogram": "gaugehistogram",
    "info": "info",
}


def test_the_reference_page_is_that_of_the_catalogue() -> None:
    """The page is written again with every change of the catalogue: `python -m services.catalogue`."""
    written = Path(__file__).resolve().parents[2] / "infra" / "METRICS.md"
    assert written.read_text("utf-8") == page()


def test_every_metric_says_what_it_means_and_what_to_do() -> None:
    """Names are ours, told once, and end in the unit or total as Prometheus wants it."""
    assert len(CATALOGUE) == len(TRACKER) + len(INTAKE) + len(WATCH) + len(BUSINESS)
    for metric in CATALOGUE.values():
        assert metric.name.startswith("claimpath_")
        assert metric.name.endswith("_total") == (metric.kind == "counter")
        assert metric.meaning.endswith(".")
        assert metric.action.endswith(".")


@pytest.mark.parametrize(
    ("registry", "listed", "beside"),
    [
        (metrics.TRACKER, TRACKER, set[str]()),
        (metrics.INTAKE, INTAKE, {"claimpath_build"}),
        (metrics.WATCH, WATCH, {"claimpath_build"}),
    ],
    ids=["tracker", "intake", "watch"],
)
def test_a_process_counts_what_the_catalogue_lists(
    registry: CollectorRegistry, listed: tuple[Metric, ...], beside: set[str]
) -> None:
    """Trackers and intakes expose their part of the catalogue and no more, of those types and with those labels."""
    families = {family.name: family for family in registry.collect()}
    ours = {name: family for name, family in families.items() if not name.startswith("process_")}
    assert set(ours) == {family_name(metric) for metric in listed} | beside
    for metric in listed:
        family = ours[family_name(metric)]
        assert family.type == TYPES[metric.kind]
        for sample in family.samples:
            assert set(sample.labels) - {"le"} == set(metric.labels)


def test_what_a_transaction_did_is_counted_by_topic_without_prefix() -> None:
    """Every record, refusal, transition, gap and correction of a batch is counted once."""
    place = Place("test-7-payer-response", 0, 1)
    before = values()
    metrics.wrote(
        Written(
            counts={place: Counts(accepted=5, duplicate=2, dead_letter=3, gap=4)},
            refusals=Counter({(place.topic, "conflict"): 2, (place.topic, "not_json"): 1}),
            transitions=Counter({(None, "draft"): 2, ("draft", "submitted"): 1}),
            gaps=Counter({"lost": 4}),
            corrections=1,
        )
    )
    moved = {name: value - before[name] for name, value in values().items() if value != before[name]}
    topic = (("topic", "payer-response"),)
    assert {name: n for name, n in moved.items() if name[0].startswith("claimpath_records")} == {
        ("claimpath_records_total", (("outcome", "accepted"), *topic)): 5,
        ("claimpath_records_total", (("outcome", "duplicate"), *topic)): 2,
        ("claimpath_records_total", (("outcome", "dead_letter"), *topic)): 3,
        ("claimpath_records_total", (("outcome", "gap"), *topic)): 4,
    }
    assert moved["claimpath_refusals_total", (("reason", "conflict"), *topic)] == 2
    assert moved["claimpath_refusals_total", (("reason", "not_json"), *topic)] == 1
    assert moved["claimpath_conflicts_total", ()] == 2
    assert moved["claimpath_transitions_total", (("from", "none"), ("to", "draft"))] == 2
    assert moved["claimpath_transitions_total", (("from", "draft"), ("to", "submitted"))] == 1
    assert moved["claimpath_gaps_total", (("kind", "lost"),)] == 4
    assert moved["claimpath_corrections_total", ()] == 1
    assert moved["claimpath_batch_records_sum", ()] == 14


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (ConnectionRefusedError(), "connection"),
        (asyncpg.ConnectionDoesNotExistError(), "connection"),
        (asyncpg.AdminShutdownError(), "connection"),
        (asyncpg.InterfaceError("connection is closed"), "connection"),  # type: ignore[attr-defined]  # exported by name only
        (ValueError(), "other"),
        (asyncpg.DeadlockDetectedError(), "collision"),
        (asyncpg.UniqueViolationError(), "collision"),
        (asyncpg.QueryCanceledError(), "timeout"),
        (asyncpg.LockNotAvailableError(), "timeout"),
        (TimeoutError(), "timeout"),
        (asyncpg.DiskFullError(), "resource"),
        (asyncpg.TooManyConnectionsError(), "resource"),
    ],
)
def test_a_retry_is_counted_by_what_is_in_the_way(error: BaseException, kind: str) -> None:
    """An error of the server is told by its SQLSTATE, also from inside another."""
    before = values()
    wrapped = RuntimeError()
    wrapped.__cause__ = error
    metrics.retried(error)
    metrics.retried(wrapped)
    after = values()
    assert {name: n - before[name] for name, n in after.items() if n != before[name]} == {
        ("claimpath_retries_total", (("kind", kind),)): 2
    }


def test_business_metrics_are_those_of_the_catalogue() -> None:
    """Each metric of the API's part of the catalogue is exposed, with those labels and no other."""
    exposed = shown(a_moment())
    assert {*exposed.gauges, *exposed.spreads} == {metric.name for metric in BUSINESS}
    text, media_type = metrics.expose_business(exposed, OPENMETRICS)
    assert media_type.startswith("application/openmetrics-text")
    families = {family.name: family for family in openmetrics_families(text.decode())}
    for metric in BUSINESS:
        family = families[metric.name]
        assert (family.type, family.documentation) == (TYPES[metric.kind], metric.meaning)
        assert family.samples
        for sample in family.samples:
            assert set(sample.labels) - {"le"} == set(metric.labels)
    assert set(families) - {metric.name for metric in BUSINESS} == {
        name for name in families if name.startswith("process_") or name == "claimpath_build"
    }


def test_closed_sets_are_complete_without_anything_to_count() -> None:
    """Where nothing waits, that is a zero and not an absence."""
    exposed = shown(NOTHING)
    assert exposed.gauges["claimpath_waiting_events"] == {
        ("no_submission",): 0,
        ("no_decision",): 0,
        ("no_reversal",): 0,
    }
    assert set(exposed.gauges["claimpath_dead_letters"].values()) == {0}
    assert {("conflict",), ("not_json",)} <= set(exposed.gauges["claimpath_dead_letters"])
    assert exposed.gauges["claimpath_waiting_oldest_seconds"] == {(): 0.0}
    metrics.expose_business(exposed, "")


def test_buckets_are_cumulative_and_their_edges_are_days_in_seconds() -> None:
    """A gauge histogram says how many spans took at most so long, as both formats' parsers read it."""
    buckets = [0] * (len(EDGES_DAYS) + 1)
    buckets[0], buckets[7], buckets[15] = 2, 3, 1
    series: dict[Labels, Spread] = {("payment", "60054"): Spread(buckets, 12_345_678)}
    for accept, parse in ((OPENMETRICS, openmetrics_families), ("*/*", plain_families)):
        text, _ = metrics.expose_business(Shown({}, {"claimpath_open_age_seconds": series}), accept)
        samples = [
            sample
            for family in parse(text.decode())
            if family.name.startswith("claimpath_open_age")
            for sample in family.samples
        ]
        found = {float(sample.labels["le"]): sample.value for sample in samples if "le" in sample.labels}
        assert found[86_400] == 2
        assert found[21 * 86_400] == 2
        assert found[30 * 86_400] == 5
        assert found[365 * 86_400] == 5
        assert found[float("inf")] == 6
        assert len(found) == len(EDGES_DAYS) + 1
        totals = {sample.name: sample.value for sample in samples if "le" not in sample.labels}
        assert totals == {"claimpath_open_age_seconds_gcount": 6, "claimpath_open_age_seconds_gsum": 12_345_678}


def test_labels_from_events_are_cut_and_added_up() -> None:
    """A payer's id cannot break the exposition, and ids that look the same on a label become one series."""
    names = ["p" * 70, "p" * 80, "line\nbreak", 'quo"te\\', ""]
    counts = [Count("claims", name, "draft", 1, 150) for name in names] + [Count("claims", None, "draft", 5, 0)]
    exposed = shown(NOTHING._replace(counts=counts))
    drafts = {payer: n for (state, payer), n in exposed.gauges["claimpath_claims"].items() if state == "draft"}
    assert drafts == {"p" * MAX_LABEL_CHARS: 2, "line?break": 1, 'quo"te\\': 1, "unknown": 1, "other": 5}
    assert exposed.gauges["claimpath_open_dollars"]["draft", "p" * MAX_LABEL_CHARS] == 3.0
    text, _ = metrics.expose_business(exposed, OPENMETRICS)
    assert any(family.name == "claimpath_claims" for family in openmetrics_families(text.decode()))


def a_moment() -> Business:
    """Something of everything."""
    return Business(
        counts=[
            Count("claims", "60054", "denied", 2, 26_000),
            Count("finding", "60054", "clock", 1, 0),
            Count("denial", "60054", "CO-50", 2, 0),
            Count("waiting", None, "no_submission", 3, 0),
            Count("set_aside", "60054", "voided", 1, 0),
        ],
        durations=[Ages("60054", "payment", "30d", 3, 2, 1_000_000)],
        open_ages=[Ages(None, "decision", "all", 0, 1, 86_400)],
        dead_letters=[("not_json", 4)],
        gap_records=[("lost", 7)],
        waiting_oldest_s=12.5,
        dead_letters_oldest_s=3.25,
    )


def openmetrics_families(text: str) -> Iterator[Family]:
    """Parse OpenMetrics, which is stricter than the plain text."""
    yield from text_string_to_metric_families(text)  # type: ignore[no-untyped-call]


def family_name(metric: Metric) -> str:
    """The name of a metric's family, which the parsers and the client tell without the suffix of its type."""
    return metric.name.removesuffix("_total").removesuffix("_info")


def values() -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Every series of the tracker."""
    assert generate_latest(metrics.TRACKER)
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in metrics.TRACKER.collect()
        if family.name.startswith("claimpath_")
        for sample in family.samples
    }


def test_a_taken_address_is_told_by_its_setting() -> None:
    """A tracker that cannot serve its metrics names the setting to change."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(BadSetting, match=f"CLAIMPATH_TRACKER_LISTEN: cannot listen on 127.0.0.1:{port}"):
            metrics.serve_tracker("127.0.0.1", port)
