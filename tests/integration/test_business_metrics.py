"""The business metrics against numbers that the test adds up from the claims themselves."""

import asyncio
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime, timedelta
from math import inf

import httpx
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from events import codec
from events.codec import Decoded, Record
from events.samples import Switches, stream
from services import business
from services.api import create_app
from services.claim import Claim
from services.lifecycle import fold
from services.settings import Settings
from services.timing import EDGES_DAYS, day, duration_s, is_open, spans
from services.view import view
from tests.stored import store_events, store_records
from tests.stories import original, response, session

Series = dict[tuple[str, frozenset[tuple[str, str]]], float]
FIRST_DAY = date(2026, 3, 1)
LONGEST_TEST_S = 30


@asynccontextmanager
async def api(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    """Lend a caller of an API on this machine."""
    app = create_app(settings)
    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as caller,
    ):
        yield caller


async def scrape(settings: Settings) -> Series:
    """Return every series of the API process, as a strict parser of OpenMetrics reads it."""
    async with api(settings) as caller:
        answer = await caller.get("/metrics", headers={"accept": "application/openmetrics-text; version=1.0.0"})
    assert answer.headers["content-type"] == "application/openmetrics-text; version=1.0.0; charset=utf-8"
    families = text_string_to_metric_families(answer.text)  # type: ignore[no-untyped-call]
    found: Series = {}
    for family in families:
        for sample in family.samples:
            edge = {"le": str(float(sample.labels["le"]))} if "le" in sample.labels else {}
            key = (sample.name, labels(**sample.labels | edge))
            assert key not in found, "a series came twice"
            found[key] = sample.value
    return found


def today() -> date:
    """The UTC date of the scrape."""
    return datetime.now(UTC).date()


@pytest.fixture(autouse=True)
async def one_day() -> None:
    """The test and PostgreSQL read the date a few seconds apart: shortly before midnight, wait for the new day."""
    now = datetime.now(UTC)
    left_s = 86_400 - (now - now.replace(hour=0, minute=0, second=0, microsecond=0)).total_seconds()
    if left_s < LONGEST_TEST_S:
        await asyncio.sleep(left_s)


async def test_metrics_are_the_sums_of_the_claims(settings: Settings) -> None:
    """Hundreds of claims with all their troubles, in several batches: every business metric is what they add up to."""
    told = list(stream(250, 7, Switches(disorder=0.2, lateness=0.1), today() - timedelta(days=150), today()))
    for begin in range(0, len(told), 400):
        await store_records(settings, told[begin : begin + 400])
    extra = [response("approved", claim_id="W-1"), original(claim_id="W-2"), response("reversed", claim_id="W-2")]
    await store_events(settings, extra)

    claims = folded(told) | {"W-1": fold(extra[:1]), "W-2": fold(extra[1:])}
    found = await scrape(settings)
    expected = counted(claims) | durations(claims.values()) | open_ages(claims.values())
    ours = {key: value for key, value in found.items() if key[0].split("_")[1] not in ("build", "waiting") and value}
    ours = {key: value for key, value in ours.items() if key[0].startswith("claimpath_")}
    assert {key: value for key, value in ours.items() if not close(value, expected.get(key))} == {}
    assert {key for key, value in expected.items() if value} - set(ours) == set()
    assert found["claimpath_waiting_events", labels(reason="no_submission")] == 1
    assert found["claimpath_waiting_events", labels(reason="no_decision")] == 1
    assert 0 < found["claimpath_waiting_oldest_seconds", labels()] < 60
    kinds = {name for name, _ in ours}
    assert {"claimpath_denials", "claimpath_findings", "claimpath_open_age_seconds_bucket"} <= kinds


async def test_windows_count_the_days_on_which_a_measure_ended(settings: Settings) -> None:
    """30 days are today and the 29 before; a payment announced for tomorrow is in no window yet."""
    now = (today() - FIRST_DAY).days + 1
    for number, ended in enumerate((now + 1, now, now - 29, now - 30, now - 89, now - 90)):
        name = f"P-{number}"
        await store_events(
            settings, [original(day=ended - 10, claim_id=name), response("approved", day=ended, claim_id=name)]
        )
    found = await scrape(settings)
    name = "claimpath_duration_seconds_gcount"
    counts = {w: found[name, labels(measure="decision", payer="60054", window=w)] for w in ("30d", "90d", "all")}
    assert counts == {"30d": 2, "90d": 4, "all": 6}
    sums = "claimpath_duration_seconds_gsum"
    assert found[sums, labels(measure="decision", payer="60054", window="30d")] == 2 * 10 * 86_400 - 2 * 14 * 3_600


async def test_dead_letters_and_gaps_are_shown_by_reason(settings: Settings) -> None:
    """What was refused and what Kafka lost is counted, with the age of the oldest."""
    records = [
        Record("payer-response", b"C", None),
        Record("payer-response", b"C", b"[]"),
        Record("claim-submitted", b"C", b"\xff"),
        Record("claim-submitted", b"C", b"{"),
    ]
    await store_records(settings, records, gaps={"session-recorded": 12, "payer-response": 3})
    found = await scrape(settings)
    reasons = {dict(names)["reason"]: n for (name, names), n in found.items() if name == "claimpath_dead_letters" and n}
    expected = Counter(refusal.reason for each in records if isinstance(refusal := codec.decode(each), codec.Refusal))
    assert reasons == expected
    assert 0 < found["claimpath_dead_letters_oldest_seconds", labels()] < 60
    assert found["claimpath_gap_records", labels(kind="lost")] == 15
    assert found["claimpath_gap_records", labels(kind="no_record")] == 0


async def test_payers_beyond_the_limit_are_one(settings: Settings) -> None:
    """Payers with the fewest claims share one series, so that nobody's events can drown Prometheus."""
    few = [session(claim_id=f"F-{n}", payer_id=f"few-{n:02}") for n in range(business.MAX_PAYERS + 5)]
    many = [session(claim_id=f"M-{n}", payer_id="many") for n in range(3)]
    reasons = [f"CO-R{n} 1.00" for n in range(business.MAX_REASONS + 5)]
    denied = [original(claim_id="D", payer_id="many"), response("denied", claim_id="D", adjustments=reasons)]
    await store_events(settings, [*few, *many, *denied])
    found = await scrape(settings)
    drafts = {dict(key)["payer"]: n for (name, key), n in found.items() if name == "claimpath_claims" and n}
    assert len(drafts) == business.MAX_PAYERS + 1
    assert drafts["other"] == 6
    assert sum(n for (name, key), n in found.items() if name == "claimpath_claims") == len(few) + 4
    denials = {dict(key)["reason"]: n for (name, key), n in found.items() if name == "claimpath_denials"}
    assert len(denials) == business.MAX_REASONS + 1
    assert denials["other"] == 5


async def test_plain_text_is_for_whoever_asks_for_it(settings: Settings) -> None:
    """Without OpenMetrics in the request, the answer is the older format, and strange requests get it too."""
    async with api(settings) as caller:
        for accept in ("*/*", "text/plain;version=0.0.4", "text/plain;version=x", ""):
            answer = await caller.get("/metrics", headers={"accept": accept})
            assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
            assert "# TYPE claimpath_duration_seconds histogram\n" in answer.text
        answer = await caller.get("/metrics", headers={"accept": "application/openmetrics-text;version=x"})
        assert answer.text.endswith("# EOF\n")


def folded(told: Iterable[Record]) -> dict[str, Claim]:
    """Fold each claim's records, whatever became of them on their way."""
    decoded = [found.event for record in told if isinstance(found := codec.decode(record), Decoded)]
    by_claim = defaultdict(list)
    for event in decoded:
        by_claim[event.claim_id].append(event)
    return {claim_id: fold(events) for claim_id, events in by_claim.items()}


def counted(claims: dict[str, Claim]) -> Series:
    """Count claims and dollars, set-aside events, findings and denials, from what is shown of each claim."""
    found: Counter[tuple[str, frozenset[tuple[str, str]]]] = Counter()
    cents: Counter[frozenset[tuple[str, str]]] = Counter()
    for claim_id, claim in claims.items():
        shown = view(claim_id, claim)
        payer = claim.payer or "unknown"
        of_state = labels(state=shown["state"] or "none", payer=payer)
        found["claimpath_claims", of_state] += 1
        cents[of_state] += round(float(shown["money"]["open"]) * 100)
        for reason, n in claim.set_aside.items():
            found["claimpath_set_aside_events", labels(reason=reason)] += n
        for finding in shown["findings"]:
            found["claimpath_findings", labels(finding=finding, payer=payer)] += 1
        for reason in shown["denial_reasons"] if shown["state"] in ("denied", "appealed") else ():
            found["claimpath_denials", labels(payer=payer, reason=reason)] += 1
    return dict(found) | {("claimpath_open_dollars", key): amount / 100 for key, amount in cents.items()}


def durations(claims: Iterable[Claim]) -> Series:
    """Spread what has ended over the buckets of each window, the plain way."""
    seconds: defaultdict[frozenset[tuple[str, str]], list[int]] = defaultdict(list)
    for span in (span for claim in claims for span in spans(claim)):
        took = duration_s(span)
        if took is None or took < 0 or span.end is None:
            continue
        age = (today() - day(span.end)).days
        for window, counts in {"all": True, "30d": 0 <= age < 30, "90d": 0 <= age < 90}.items():
            if counts:
                seconds[labels(measure=span.measure, payer=span.payer, window=window)].append(took)
    return histogram("claimpath_duration_seconds", seconds)


def open_ages(claims: Iterable[Claim]) -> Series:
    """Spread what is open over the buckets, by whole days."""
    seconds: defaultdict[frozenset[tuple[str, str]], list[int]] = defaultdict(list)
    for span in (span for claim in claims if is_open(claim) for span in spans(claim) if span.end is None):
        age = (today() - day(span.start)).days
        seconds[labels(measure=span.measure, payer=span.payer)].append(max(age, 0) * 86_400)
    return histogram("claimpath_open_age_seconds", seconds)


def histogram(name: str, seconds: dict[frozenset[tuple[str, str]], list[int]]) -> Series:
    """Count for each edge how many took at most so long."""
    found: Series = {}
    for key, values in seconds.items():
        found[f"{name}_gcount", key] = len(values)
        found[f"{name}_gsum", key] = sum(values)
        for upper in (*(days * 86_400.0 for days in EDGES_DAYS), inf):
            found[f"{name}_bucket", key | {("le", str(upper))}] = sum(value <= upper for value in values)
    return found


def labels(**values: str) -> frozenset[tuple[str, str]]:
    """A series by its labels."""
    return frozenset(values.items())


def close(value: float, expected: float | None) -> bool:
    """Equal but for the last digits of a float of dollars."""
    return expected is not None and value == pytest.approx(expected, abs=1e-6)
