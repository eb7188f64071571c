"""Claims as people and programs read them, now and as of another time."""

import csv
import json
import time
from datetime import date
from io import StringIO
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from events.codec import Record
from events.topics import TOPIC_OF_TYPE
from services import database, queries
from services.lifecycle import fold
from services.settings import Settings
from services.show import BadTime, claim_show, claims_export, read_time
from services.view import CSV_COLUMNS, flat
from tests.contract_example import PUBLISHED, SHOWN
from tests.stored import store_events, store_records
from tests.stories import CLAIM, appeal, original, response, session


def without_recording(shown: dict[str, Any]) -> dict[str, Any]:
    """The claim without the instants of recording, which are the run's."""
    plain: dict[str, Any] = json.loads(json.dumps(shown))
    for entry in plain["events"] + plain["history"]:
        del entry["recorded_at"]
    return plain


async def test_the_example_of_the_contract_is_shown_from_the_database(settings: Settings) -> None:
    """Stored in any order, the example's events show as the contract says, recorded_at apart."""
    lines = PUBLISHED.strip().splitlines()
    for line in reversed(lines):
        await store_records(settings, [Record(TOPIC_OF_TYPE[json.loads(line)["type"]], b"CLM-000123", line.encode())])
    shown = await claim_show(settings, "CLM-000123")
    assert shown is not None
    assert shown["facets"].pop("draft") is None
    assert without_recording(shown) == without_recording(json.loads(SHOWN))
    recorded = [event["recorded_at"] for event in shown["events"]]
    assert recorded == sorted(recorded, reverse=True)
    assert {instant[-1] for instant in recorded} == {"Z"}


async def test_as_of_tells_the_claim_as_it_was(settings: Settings) -> None:
    """As of an instant, a claim is what its events up to and including it make; a date includes its day."""
    await store_events(
        settings, [session(day=2), original(day=4, at="14:00"), response("denied", day=20), appeal(day=32)]
    )
    states = {
        "2026-03-02T15:29:59Z": None,
        "2026-03-02T15:30:00Z": "draft",
        "2026-03-04T13:59:59.999999Z": "draft",
        "2026-03-04T09:00:00-05:00": "submitted",
        "2026-03-04": "submitted",
        "2026-03-19": "submitted",
        "2026-03-20": "denied",
        "2026-04-01T10:00:00+00:00": "appealed",
    }
    told = {when: await claim_show(settings, CLAIM, as_of=when) for when in states}
    assert {when: shown and shown["state"] for when, shown in told.items()} == states
    march = told["2026-03-20"]
    assert march is not None
    assert [event["type"] for event in march["events"]] == [
        "session.recorded.v1",
        "claim.submitted.v1",
        "payer.response.v1",
    ]


async def test_known_at_tells_what_was_known_then(settings: Settings) -> None:
    """Known at an instant, a claim is what had been recorded by then makes, whatever is known of that time today."""
    await store_events(settings, [session(), original()])
    then = await claim_show(settings, CLAIM)
    time.sleep(0.005)
    await store_events(settings, [response("approved", day=20)])
    now = await claim_show(settings, CLAIM)
    assert then is not None
    assert now is not None
    assert (then["state"], now["state"]) == ("submitted", "approved")
    known_at = then["events"][-1]["recorded_at"]
    assert await claim_show(settings, CLAIM, known_at=known_at) == then
    assert await claim_show(settings, CLAIM, known_at="2026-03-01") is None, "nothing was recorded yet"
    both = await claim_show(settings, CLAIM, as_of="2026-03-03", known_at=known_at)
    assert both is not None
    assert both["state"] == "draft"
    assert await claim_show(settings, CLAIM, as_of="2099-12-31", known_at=now["events"][-1]["recorded_at"]) == now


@pytest.mark.parametrize("claim_id", ["CLM-unknown", "", "x" * 65, "a\0b", "\udc80", "a/b?c=d'; --"])
async def test_a_claim_that_is_not_there_is_none(settings: Settings, claim_id: str) -> None:
    """Whatever is asked for, an unknown claim is no error."""
    assert await claim_show(settings, claim_id) is None


@pytest.mark.parametrize("claim_id", ["A/B", "ü é", "a?b=c&d#e", "%2F", "x" * 64, "'; --"])
async def test_a_claim_id_may_hold_any_printable_character(settings: Settings, claim_id: str) -> None:
    """The patient control number is the provider's to choose."""
    await store_events(settings, [session(claim_id=claim_id)])
    shown = await claim_show(settings, claim_id)
    assert shown is not None
    assert shown["claim_id"] == claim_id


async def test_the_export_has_every_claim_in_order(settings: Settings) -> None:
    """Each claim is one line as `claim show` tells it, its events apart; claims of waiting events too."""
    stories = {
        "b": [session(claim_id="b"), original(claim_id="b")],
        "B": [response("approved", claim_id="B")],
        'a,"1"': [session(claim_id='a,"1"'), original(claim_id='a,"1"'), response("denied", claim_id='a,"1"')],
    }
    await store_events(settings, [event for story in stories.values() for event in story])
    lines = [line async for line in claims_export(settings, "jsonl")]
    assert all(line.endswith("}\n") and line.count("\n") == 1 for line in lines)
    told = [json.loads(line) for line in lines]
    assert [claim["claim_id"] for claim in told] == ["B", 'a,"1"', "b"]
    assert [claim["state"] for claim in told] == [None, "denied", "submitted"]
    for claim in told:
        shown = await claim_show(settings, claim["claim_id"])
        assert shown is not None
        del shown["events"]
        assert list(claim.items()) == list(shown.items())

    table = list(csv.reader(StringIO("".join([line async for line in claims_export(settings, "csv")]))))
    assert table[0] == list(CSV_COLUMNS)
    assert table[1:] == [flat(claim["claim_id"], fold(stories[claim["claim_id"]])) for claim in told]


async def test_a_long_export_comes_in_portions(settings: Settings) -> None:
    """More claims than are held in memory at once all come, once each and in order."""
    names = [f"L-{number:05}" for number in range(queries.EXPORT_ROWS + 7)]
    await store_events(settings, [session(claim_id=name) for name in names])
    assert [json.loads(line)["claim_id"] async for line in claims_export(settings, "jsonl")] == names


async def test_readers_can_change_nothing(settings: Settings) -> None:
    """The role that reads may not write, and its transactions would not let it."""
    engine = database.engine(settings, application="test", role="claimpath_reader")
    statements = (
        "DELETE FROM event",
        "UPDATE claim SET state = 'approved'",
        "DELETE FROM dead_letter",
        "DROP TABLE gap",
    )
    for begin, state in ((queries.reading, "25006"), (AsyncEngine.begin, "42501")):
        for statement in statements:
            with pytest.raises(DBAPIError) as caught:
                async with begin(engine) as connection:
                    await connection.execute(text(statement))
            assert database.sqlstate(caught.value) == state
    await engine.dispose()


async def test_an_empty_database_exports_a_header_or_nothing(settings: Settings) -> None:
    """No claims are no lines."""
    assert [line async for line in claims_export(settings, "jsonl")] == []
    assert [line async for line in claims_export(settings, "csv")] == [",".join(CSV_COLUMNS) + "\n"]


@pytest.mark.parametrize(
    "written",
    ["", "yesterday", "2026-3-1", "2026-02-30", "20260301", "2026-W10-1", "2026-03-01T10:00:00", "2026-03-01T10:00Z",
     "2026-03-01T25:00:00Z", "0001-01-01T00:00:00+10:00", "2026-03-01T00:00:00+99:00", "\u0662026-03-01"],
)  # fmt: skip
def test_what_is_no_time_is_refused(written: str) -> None:
    """A time without an offset, or in another form, is refused with the two forms that are read."""
    with pytest.raises(BadTime, match="instant with an offset, like 2026-03-20T14:00:00Z, or a date"):
        read_time(written)


def test_times_are_read_to_the_microsecond() -> None:
    """Offsets are added up; digits beyond the microsecond do not reach forward."""
    start = (date(2026, 3, 1) - date(1970, 1, 1)).days * 86_400_000_000
    assert read_time("2026-03-01T00:00:00Z") == read_time("2026-02-28T19:00:00-05:00") == start
    assert read_time("2026-03-01t00:00:00.0000019z") == start + 1
    assert read_time("2026-03-01 00:00:00.5+00:00") == start + 500_000
    assert read_time("2026-03-01") == start + 86_400_000_000 - 1
