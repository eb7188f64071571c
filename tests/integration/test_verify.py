"""That verify finds nothing where all is well, and each kind of fault where one was planted."""

import re
import tracemalloc

import pytest

from events import samples
from services import event_log
from services.settings import Settings
from services.verify import MOST_TOLD, Difference, Report, verify
from tests.stored import run_sql, store_events, store_records
from tests.stories import CLAIM, PAYER, appeal, body, original, response, session

STORIES = [
    *(session(), original(), response("accepted", day=5), response("denied"), appeal()),
    *(session(claim_id="A"), original(claim_id="A"), response("approved", claim_id="A")),
    *(response("approved", claim_id="waits"), session(claim_id="waits"), session(claim_id="waits", cancelled=True)),
]
FEW_ROWS = 20


async def checked(settings: Settings) -> list[Difference]:
    """What verify finds."""
    return (await verify(settings)).differences


async def test_what_trackers_write_has_no_difference(settings: Settings) -> None:
    """Whatever comes, in whatever order and batches, and however refused: verify finds nothing."""
    switches = samples.Switches(duplicates=0.1, disorder=0.2, lateness=0.05, conflicts=0.03, poison=0.05)
    messages = list(samples.stream(150, 7, switches))
    for start in range(0, len(messages), 400):
        await store_records(settings, messages[start : start + 400], gaps={"payer-response": 3})
    seen: list[tuple[int, int]] = []
    report = await verify(settings, lambda done, total: seen.append((done, total)))
    assert report.differences == []
    assert report.difference_count == 0
    assert report.claims == 150
    assert report.events > 500
    assert report.rollups > 100
    assert report.positions == 3
    assert seen[-1] == (report.events, report.events)
    assert len(seen) == report.claims


async def test_an_empty_database_has_no_difference(settings: Settings) -> None:
    """Nothing is what nothing makes."""
    report = await verify(settings)
    assert report == Report(0, 0, 0, 0, 0, [], report.seconds)


PLANTED = {
    "state": ("UPDATE claim SET state = 'draft' WHERE claim_id = 'A'", ("claim", "A", "$.columns.state")),
    "no state": ("UPDATE claim SET state = NULL WHERE claim_id = 'A'", ("claim", "A", "$.columns.state")),
    "payer": ("UPDATE claim SET payer = 'x' WHERE claim_id = 'A'", ("claim", "A", "$.columns.payer")),
    "open": ("UPDATE claim SET open = NOT open WHERE claim_id = 'A'", ("claim", "A", "$.columns.open")),
    "since": (
        "UPDATE claim SET since = since + interval '1 microsecond' WHERE claim_id = 'A'",
        ("claim", "A", "$.columns.since"),
    ),
    "waiting_since": (
        "UPDATE claim SET waiting_since = NULL WHERE claim_id = 'waits'",
        ("claim", "waits", "$.columns.waiting_since_us"),
    ),
    "a facet": (
        "UPDATE claim SET packed = replace(packed, '\"appeal_level\":1', '\"appeal_level\":2')",
        ("claim", CLAIM, "$.facets.appeal_level"),
    ),
    "an amount": (
        "UPDATE claim SET packed = replace(packed, '\"allowed\":11000', '\"allowed\":11001') WHERE claim_id = 'A'",
        ("claim", "A", "$.money.allowed"),
    ),
    "a count": (
        "UPDATE claim SET packed = replace(packed, '\"applied\":3', '\"applied\":4') WHERE claim_id = 'A'",
        ("claim", "A", "$.applied"),
    ),
    "what waits": (
        "UPDATE claim SET packed = replace(packed, 'no_submission', 'no_decision') WHERE claim_id = 'waits'",
        ("claim", "waits", "$.waiting[0][2]"),
    ),
    "the history": (
        'UPDATE claim SET packed = replace(packed, \'["submitted","approved"\', \'[null,"approved"\')',
        ("claim", "A", "$.history[2].state_before"),
    ),
    "no claim at all": ("UPDATE claim SET packed = '{' WHERE claim_id = 'A'", ("claim", "A", "packed")),
    "an attempt that is not": (
        "UPDATE claim SET packed = replace(packed, '\"current\":1', '\"current\":5') WHERE claim_id = 'A'",
        ("claim", "A", "packed"),
    ),
    "a claim is gone": ("DELETE FROM claim WHERE claim_id = 'A'", ("claim", "A", "$")),
    "a claim of nothing": (
        "INSERT INTO claim SELECT 'ghost', version, state, payer, open, since, NULL, packed FROM claim LIMIT 1",
        ("claim", "ghost", "$"),
    ),
    "a rollup's count": (
        "UPDATE rollup SET n = n + 1 WHERE name = 'claims' AND label = 'approved'",
        ("rollup", f"claims {PAYER} approved 1970-01-01 -1", "n"),
    ),
    "a rollup's total": (
        "UPDATE rollup SET total = total + 1 WHERE name = 'claims' AND label = 'approved'",
        ("rollup", f"claims {PAYER} approved 1970-01-01 -1", "total"),
    ),
    "a rollup is gone": (
        "DELETE FROM rollup WHERE name = 'waiting'",
        ("rollup", "waiting  no_submission 1970-01-01 -1", "n"),
    ),
    "a rollup of nothing": (
        "INSERT INTO rollup VALUES ('finding', 'x', 'clock', '1970-01-01', -1, 1, 0)",
        ("rollup", "finding x clock 1970-01-01 -1", "n"),
    ),
    "an event is gone": (
        "DELETE FROM event WHERE claim_id = 'A' AND kind = 'approved'",
        ("position", "all", "accepted"),
    ),
    "all events of a claim are gone": ("DELETE FROM event WHERE claim_id = 'A'", ("claim", "A", "$")),
    "an event was changed": (
        "UPDATE event SET body = replace(body, '88.00', '87.00') WHERE claim_id = 'A' AND kind = 'approved'",
        ("claim", "A", "$.money.paid"),
    ),
    "an event is unreadable": (
        "UPDATE event SET body = left(body, -1) WHERE claim_id = 'A' AND kind = 'approved'",
        ("event", "A", "$"),
    ),
    "an event of another claim": (
        "UPDATE event SET claim_id = 'B' WHERE claim_id = 'A' AND kind = 'approved'",
        ("event", "B", "$.subject"),
    ),
    "an event's identity": (
        "UPDATE event SET identity = '\\x00' WHERE claim_id = 'A' AND kind = 'approved'",
        ("event", "A", "identity"),
    ),
    "an event's kind": (
        "UPDATE event SET kind = 'denied' WHERE claim_id = 'A' AND kind = 'approved'",
        ("event", "A", "kind"),
    ),
    "an event's time": (
        "UPDATE event SET time = time + interval '1 microsecond' WHERE claim_id = 'A' AND kind = 'approved'",
        ("event", "A", "time"),
    ),
    "an event's recording": (
        "UPDATE event SET recorded_at = recorded_at + interval '1 hour' WHERE claim_id = 'A' AND kind = 'approved'",
        ("claim", "A", "$.history[2].recorded_at"),
    ),
    "a position's offsets": (
        """
        ALTER TABLE position DROP CONSTRAINT every_record_has_one_outcome;
        UPDATE position SET next_offset = next_offset + 1 WHERE topic LIKE '%claim-submitted'
        """,
        ("position", "claim-submitted 0, generation 1", "accepted + duplicate + dead_letter + gap"),
    ),
    "an accepted record without an event": (
        "UPDATE position SET accepted = accepted + 1, duplicate = duplicate - 1 WHERE topic LIKE '%payer-response'",
        ("position", "all", "accepted"),
    ),
    "a dead letter is gone": (
        "DELETE FROM dead_letter",
        ("position", "session-recorded 0, generation 1", "dead_letter"),
    ),
    "a dead letter of no position": (
        "UPDATE dead_letter SET generation = 7",
        ("position", "session-recorded 0, generation 7", "dead_letter"),
    ),
    "a gap is gone": ("DELETE FROM gap", ("position", "payer-response 0, generation 1", "gap")),
    "a gap is longer": (
        "UPDATE gap SET last_offset = last_offset + 1",
        ("position", "payer-response 0, generation 1", "gap"),
    ),
}


@pytest.mark.parametrize(("planted", "found"), PLANTED.values(), ids=PLANTED.keys())
async def test_a_fault_is_found(settings: Settings, planted: str, found: tuple[str, str, str]) -> None:
    """Whatever is changed behind the tracker's back, verify tells what differs and where, and nothing of an event."""
    await store_events(settings, STORIES)
    poison = samples.Message("session-recorded", b"A", b"no event")
    again = [samples.Message("payer-response", event.claim_id.encode(), body(event).encode()) for event in STORIES[3:4]]
    await store_records(settings, [poison, *again], gaps={"payer-response": 2})
    assert await checked(settings) == []
    await run_sql(settings, planted)
    report = await verify(settings)
    assert found in [
        (each.what, each.where.removeprefix(settings.topic_prefix), each.path) for each in report.differences
    ]
    assert report.difference_count == len(report.differences)
    assert not re.search(r"p_5b1f0c9e|1234567893|97124", str(report.differences))


async def test_a_row_of_the_rollups_that_counts_nothing_is_none(settings: Settings) -> None:
    """Rows are never deleted when their last claim moves on."""
    await store_events(settings, STORIES)
    await run_sql(settings, "INSERT INTO rollup VALUES ('claims', 'x', 'draft', '1970-01-01', -1, 0, 0)")
    assert await checked(settings) == []


async def test_only_the_first_differences_are_told(settings: Settings) -> None:
    """A fault in every claim is counted in full and told in part."""
    await store_events(settings, [session(claim_id=f"C-{number:03}") for number in range(MOST_TOLD + 5)])
    await run_sql(settings, "UPDATE claim SET payer = 'x'")
    report = await verify(settings)
    assert report.difference_count == MOST_TOLD + 5
    assert [each.where for each in report.differences] == [f"C-{number:03}" for number in range(MOST_TOLD)]
    assert {(each.path, each.stored, each.expected) for each in report.differences} == {("$.columns.payer", "x", PAYER)}


async def test_claims_are_compared_in_the_order_of_the_database(settings: Settings) -> None:
    """Ids are ordered by code point on both sides, whatever they are made of."""
    ids = ["a", "B", "Ä", "é", "é", "~", " ", "\U00010348", "\uffee", "10", "9", "a b"]
    await store_events(settings, [session(claim_id=claim_id) for claim_id in ids])
    assert await checked(settings) == []
    await run_sql(settings, "DELETE FROM claim WHERE claim_id IN ('Ä', '\U00010348')")
    assert [(each.what, each.where) for each in await checked(settings)] == [("claim", "Ä"), ("claim", "\U00010348")]


async def test_memory_does_not_grow_with_the_claims(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Claims by the thousand take as much memory as claims by the hundred."""
    monkeypatch.setattr(event_log, "FETCHED_ROWS", FEW_ROWS)
    peaks = []
    for begin, end in ((0, 80), (80, 120), (120, 480)):
        ids = [f"C-{number:05}" for number in range(begin, end)]
        await store_events(settings, [tell(claim_id=claim_id) for claim_id in ids for tell in (session, original)])
        tracemalloc.start()
        report = await verify(settings)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert (report.claims, report.events, report.difference_count) == (end, 2 * end, 0)
    _warming_up, few, many = peaks
    assert many < 1.2 * few
