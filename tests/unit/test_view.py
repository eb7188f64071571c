"""A claim as the contract shows it."""

import json

from events import codec
from services.lifecycle import explain, fold
from services.view import CSV_COLUMNS, flat, instant, recorded, view
from tests.contract_example import PUBLISHED, RECORDED_AT_US, SHOWN
from tests.stories import CLAIM, appeal, original, response, session


def test_the_example_of_the_contract_shows_as_the_contract_says() -> None:
    """The example's events make the example's claim, with its keys first and in their order; `draft` is ours to add."""
    claim, explained = explain(codec.read(line, RECORDED_AT_US) for line in PUBLISHED.strip().splitlines())
    shown = view("CLM-000123", claim, explained)
    assert list(shown)[:5] == ["claim_id", "state", "facets", "money", "denial_reasons"]
    assert list(shown)[5:] == ["findings", "durations_s", "events", "history", "rejection_reasons"]
    assert list(shown["facets"])[-2:] == ["payment", "draft"]
    assert shown["facets"].pop("draft") is None
    assert shown == json.loads(SHOWN)


def test_a_line_of_the_export_is_the_claim_without_its_events() -> None:
    """Without events, nothing else is missing."""
    events = [session(), original(), response("denied")]
    claim, explained = explain(events)
    whole = view(CLAIM, claim, explained)
    del whole["events"]
    assert view(CLAIM, claim) == whole


def test_events_say_what_became_of_them() -> None:
    """An event that waits or was set aside carries its reason."""
    story = [original(), appeal(day=5), original(day=6, submission_id="S-2"), original(day=7, submission_id="S-2")]
    shown = view(CLAIM, *explain(story))
    assert [(event["outcome"], event["reason"]) for event in shown["events"]] == [
        ("applied", None),
        ("waiting", "no_decision"),
        ("applied", None),
        ("set_aside", "same_submission"),
    ]


def test_a_claim_of_waiting_events_has_no_state_and_no_money() -> None:
    """An answer without its submission makes a claim that says so."""
    shown = view(CLAIM, *explain([response("approved")]))
    assert (shown["state"], shown["facets"]["payer_rank"], shown["history"]) == (None, None, [])
    assert set(shown["money"].values()) == {"0.00"}


def test_times_are_utc_and_as_fine_as_they_are() -> None:
    """Business times drop zero fractions; the instant of recording always has its milliseconds."""
    assert instant(0) == "1970-01-01T00:00:00Z"
    assert instant(1_767_225_600_000_250) == "2026-01-01T00:00:00.000250Z"
    assert recorded(1_767_225_600_000_000) == "2026-01-01T00:00:00.000Z"
    assert recorded(1_767_225_600_017_000) == "2026-01-01T00:00:00.017Z"


def test_a_row_of_the_csv_export_has_every_column_as_text() -> None:
    """Nothing prints as nothing, truth as a word, a list as words with spaces."""
    claim = fold([session(), original(), response("denied", adjustments=["CO-50 100.00", "CO-97 30.00"])])
    row = dict(zip(CSV_COLUMNS, flat(CLAIM, claim), strict=True))
    assert row["claim_id"] == CLAIM
    assert (row["state"], row["draft"], row["needs_information"]) == ("denied", "", "false")
    assert (row["billed"], row["open"], row["denial_reasons"]) == ("130.00", "130.00", "CO-50 CO-97")
    assert (row["charge_lag_s"], row["appeal_s"], row["since"]) == ("172800", "", "2026-03-20T00:00:00Z")
    assert (row["applied"], row["waiting"], row["set_aside"]) == ("3", "0", "0")
