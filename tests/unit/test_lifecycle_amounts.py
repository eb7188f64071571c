"""The rules, by both tellings: money, time and what a claim adds to the rollups, worked by hand."""

import json
import random
from datetime import date
from typing import Any

import pytest

from events.codec import read
from events.contracts import Event
from services.claim import Claim
from services.rollups import rollup as claim_rollup
from tests.contract_example import PUBLISHED, RECORDED_AT_US, SHOWN
from tests.stories import appeal, on, original, replacement, response, session, void
from tests.tellings import claim, rollup

NO_DAY = date(1970, 1, 1)
DAY = 86_400
DENIED = response("denied")


def example() -> list[Event]:
    """The events of the contract's example."""
    return [read(line, RECORDED_AT_US) for line in PUBLISHED.strip().splitlines()]


def money(*events: Event) -> dict[str, str]:
    """The amounts of the claim of these events."""
    amounts: dict[str, str] = claim(events)["money"]
    return amounts


def seconds(*events: Event) -> dict[str, Any]:
    """The known durations of the claim of these events."""
    return {name: value for name, value in claim(events)["durations_s"].items() if value is not None}


def rows(name: str, *events: Event) -> dict[tuple[Any, ...], tuple[int, int]]:
    """The rows of one rollup, without its name."""
    return {row[1:]: value for row, value in rollup(events).items() if row[0] == name}


def test_the_example_of_the_contract() -> None:
    """The published lines make the shown claim, in whatever order they come."""
    events = example()
    random.Random(1).shuffle(events)
    told = claim(events)
    assert told["facets"].pop("draft") is None
    assert told == json.loads(SHOWN)


def test_rollups_of_the_example() -> None:
    """A paid claim adds itself to its state and five durations, on the days they ended, in their buckets of days."""
    assert rollup(example()) == {
        ("claims", "60054", "approved", NO_DAY, -1): (1, 0),
        ("duration", "60054", "charge_lag", date(2026, 3, 4), 1): (1, 2 * DAY),
        ("duration", "60054", "acknowledgement", date(2026, 3, 5), 0): (1, 57_600),
        ("duration", "60054", "decision", date(2026, 3, 20), 6): (1, 16 * DAY),
        ("duration", "60054", "payment", date(2026, 3, 24), 6): (1, 20 * DAY),
        ("duration", "60054", "reimbursement", date(2026, 3, 24), 7): (1, 22 * DAY),
    }


def test_times_are_printed_with_microseconds_only_where_there_are_some() -> None:
    """An instant is printed in UTC, as exactly as it was told."""
    told = claim([session(at="15:30:00.1234"), original(at="14:00")])
    assert [entry["time"] for entry in told["events"]] == ["2026-03-02T15:30:00.123400Z", "2026-03-04T14:00:00Z"]


def test_a_denied_claims_dollars_stay_open() -> None:
    """Amounts on a denial are kept and not counted."""
    told = claim([original(), DENIED])
    assert (told["money"]["adjusted"], told["money"]["open"], told["facets"]["payment"]) == ("0.00", "130.00", "unpaid")


def test_what_the_patient_owes_is_told_by_adjustments_or_by_the_total() -> None:
    """Adjustments of the patient's group count where there are any, else the patient responsibility."""
    both = response(
        "approved", allowed="110.00", paid="88.00", patient="30.00", adjustments=["PR-2 20.00", "PR-1 2.00"]
    )
    total = response(
        "approved", allowed="110.00", paid="88.00", patient="30.00", adjustments=["CO-45 1.00", "OA-94 2.00"]
    )
    assert money(original(), both)["patient"] == "22.00"
    assert (money(original(), total)["patient"], money(original(), total)["adjusted"]) == ("30.00", "3.00")


def test_payment_is_partial_until_nothing_is_open() -> None:
    """Paid, partial and reversed tell what came, what is missing and what was taken back."""
    part = response("approved", paid="50.00", allowed="60.00")
    rest = response("approved", day=30, paid="80.00", allowed="80.00")
    back = response("reversed", day=40, paid="-130.00", allowed="-140.00")
    payments = [claim(story)["facets"]["payment"] for story in ([original(), part], [original(), part, rest])]
    assert payments == ["partial", "paid"]
    assert claim([original(), part, rest, back])["facets"]["payment"] == "reversed"
    nothing = response("approved", paid="0.00", allowed="60.00")
    assert claim([original(), nothing])["facets"]["payment"] == "unpaid"


def test_a_secondary_payment_is_not_counted_twice() -> None:
    """What the primary paid stands in the secondary's reason 23, and is taken off its adjustments."""
    primary = response("approved", allowed="110.00", paid="88.00", adjustments=["CO-45 20.00", "PR-2 22.00"])
    crossed = response(
        "approved", day=30, rank=2, allowed="110.00", paid="20.00", adjustments=["OA-23 108.00", "PR-2 2.00"]
    )
    assert money(original(), primary, crossed) == {
        "billed": "130.00",
        "allowed": "110.00",
        "paid": "108.00",
        "adjusted": "20.00",
        "patient": "2.00",
        "open": "0.00",
    }
    without = response("approved", day=30, rank=2, allowed="10.00", paid="20.00", adjustments=["CO-45 5.00"])
    assert money(original(), primary, without)["adjusted"] == "5.00"
    back = response(
        "reversed", day=40, rank=2, allowed="-110.00", paid="-20.00", adjustments=["OA-23 -108.00", "PR-2 -2.00"]
    )
    assert money(original(), primary, crossed, back) == money(original(), primary)


def test_allowed_is_that_of_the_lowest_rank_that_has_one() -> None:
    """A primary that allowed nothing leaves the secondary's amount."""
    nothing = response("approved", allowed="0.00", paid="0.00")
    secondary = response("approved", day=30, rank=2, allowed="70.00", paid="60.00")
    assert money(original(), nothing, secondary)["allowed"] == "70.00"
    assert money(original(), response("approved"), secondary)["allowed"] == "110.00"


def test_a_reversal_of_a_denial_moves_nothing() -> None:
    """Neither the amounts nor the adjustments of a reversal with both zero count."""
    back = response("reversed", day=21, paid="0.00", allowed="0.00", adjustments=["CO-50 -130.00"])
    approved = response("approved", day=30)
    assert money(original(), DENIED, back, approved) == money(original(), approved)


def test_money_of_a_voided_claim_is_a_credit() -> None:
    """A void bills nothing, and what was paid is to be given back."""
    told = claim([original(), response("approved"), void()])
    assert (told["money"]["billed"], told["money"]["open"]) == ("0.00", "-130.00")
    assert told["findings"] == ["credit_balance"]


def test_billed_is_the_charge_of_the_current_attempt() -> None:
    """A replacement's charge replaces the original's."""
    assert money(original(), replacement(charge="90.00"))["billed"] == "90.00"
    assert money(session())["billed"] == "0.00"


def test_service_date_is_of_the_sessions_that_took_place() -> None:
    """The earliest uncancelled session counts, each as last told; without any, the lines of the latest claim."""
    two = [session(served=1, session_id="A"), session(served=2, session_id="B")]
    assert seconds(*two, original())["charge_lag"] == 3 * DAY
    cancelled = session(day=3, served=1, session_id="A", cancelled=True)
    assert seconds(*two, cancelled, original())["charge_lag"] == 2 * DAY
    assert "charge_lag" not in seconds(original())
    assert seconds(original(served=3))["charge_lag"] == DAY
    assert seconds(original(served=3), replacement(served=2), replacement(day=30))["charge_lag"] == 2 * DAY
    undone = [DENIED, replacement(served=1), response("rejected", day=25)]
    assert seconds(original(served=3), *undone)["charge_lag"] == DAY


def test_between_instants_time_is_exact_and_between_dates_whole_days() -> None:
    """A decision with a date is counted as contracts count, one with an instant to the second."""
    exact = seconds(original(at="14:00:00"), response("denied", at="14:00:01.9"))
    assert exact["decision"] == 16 * DAY + 1
    assert seconds(original(at="23:59"), response("denied", at="00:01", decided=20))["decision"] == 16 * DAY
    accepted = response("accepted", day=5, at="14:00")
    assert seconds(original(), accepted, response("accepted", day=9))["acknowledgement"] == DAY
    assert seconds(original(), response("accepted", day=5, sender="clearinghouse")) == {}


def test_the_decision_is_of_the_latest_decided_attempt_of_the_awaited_rank() -> None:
    """An undecided replacement still tells how long its predecessor took; another payer's time is not mixed in."""
    first = [original(at="00:00"), DENIED]
    assert seconds(*first, replacement(at="00:00"))["decision"] == 16 * DAY
    again = response("denied", day=25)
    assert seconds(*first, replacement(at="00:00"), again, response("denied", day=50))["decision"] == 3 * DAY
    assert "decision" not in seconds(*first, replacement(rank=2))
    assert rows("open", *first, replacement())["60054", "decision", on(22), -1] == (1, 0)


def test_appeals_are_timed_from_the_denial_and_to_the_decision() -> None:
    """The chain keeps the denial it fights; its clock runs from the latest appeal until it is decided."""
    story = [original(), DENIED, appeal(at="00:00")]
    assert seconds(*story)["denial_to_appeal"] == 12 * DAY
    assert rows("open", *story)["60054", "appeal", on(32), -1] == (1, 0)
    decided = [*story, appeal(day=40, at="00:00"), response("approved", day=45)]
    assert (seconds(*decided)["denial_to_appeal"], seconds(*decided)["appeal"]) == (20 * DAY, 5 * DAY)
    assert seconds(*decided, replacement(day=50))["appeal"] == 5 * DAY
    assert seconds(*decided, response("approved", day=60))["appeal"] == 5 * DAY
    underpaid = [original(), response("approved"), appeal(at="00:00"), response("denied", day=45)]
    assert "denial_to_appeal" not in seconds(*underpaid)
    assert seconds(*underpaid)["appeal"] == 13 * DAY


def test_a_new_attempt_ends_an_undecided_appeals_clock() -> None:
    """A replacement under appeal leaves no appeal to time, until it is rejected."""
    story = [original(), DENIED, appeal(at="00:00"), replacement(day=40)]
    assert "denial_to_appeal" not in seconds(*story)
    assert seconds(*story, response("rejected", day=41))["denial_to_appeal"] == 12 * DAY


def test_payment_is_when_what_was_paid_last_rose_above_zero() -> None:
    """A reversal takes the payment's date away; the next payment gives another."""
    paid = response("approved", decided=19, paid_on=24)
    back = response("reversed", day=30)
    again = response("approved", day=40, decided=39)
    more = response("approved", day=50, paid="1.00")
    assert seconds(session(), original(), paid)["payment"] == 20 * DAY
    assert "payment" not in seconds(session(), original(), paid, back)
    assert seconds(session(), original(), paid, back, again, more)["payment"] == 35 * DAY
    assert seconds(session(), original(), paid, back, again, more)["reimbursement"] == 37 * DAY


def test_time_that_runs_backwards_is_a_finding_and_no_observation() -> None:
    """A claim sent before its session took place says that a clock is wrong."""
    events = [session(day=1, served=9), original(), response("accepted", day=3)]
    told = claim(events)
    assert (told["findings"], told["durations_s"]["charge_lag"]) == (["clock"], None)
    assert told["durations_s"]["acknowledgement"] is None
    assert rows("duration", *events) == {}
    assert ("60054", "acknowledgement", on(4), -1) not in rows("open", *events)


def test_open_claims_count_from_the_day_they_started() -> None:
    """What still runs is counted while an answer is awaited, and not in a draft or after a decision."""
    told = rows("open", session(), original(payer_id="P2"))
    assert told == {
        ("P2", "acknowledgement", on(4), -1): (1, 0),
        ("P2", "decision", on(4), -1): (1, 0),
        ("P2", "payment", on(4), -1): (1, 0),
        ("P2", "reimbursement", on(2), -1): (1, 0),
    }
    assert rows("open", session()) == rows("open", session(), original(), DENIED) == {}
    reopened = rows("open", original(), response("approved"), response("reversed", day=21))
    assert {row[1] for row in reopened} == {"acknowledgement", "payment"}


def test_each_measure_belongs_to_the_payer_of_its_attempt() -> None:
    """The primary has its decision and the first submission, the secondary its own, and the one paid the payment."""
    primary = [session(), original(payer_id="P1"), response("approved", paid="0.00", allowed="10.00")]
    secondary = [original(day=30, rank=2, payer_id="P2"), response("approved", day=40)]
    payers = {(row[1], row[0]) for row in rows("duration", *primary, *secondary)}
    assert payers == {("charge_lag", "P1"), ("decision", "P2"), ("payment", "P2"), ("reimbursement", "P2")}


@pytest.mark.parametrize(
    ("bucket", "edge"), list(enumerate((1, 3, 7, 10, 14, 15, 21, 30, 31, 45, 60, 90, 120, 180, 365)))
)
def test_a_duration_falls_in_the_first_bucket_that_holds_it(bucket: int, edge: int) -> None:
    """The edges are the days that matter to contracts and laws, each inside its bucket; a day more is in the next."""
    for days, fallen in ((edge, bucket), (edge + 1, bucket + 1)):
        events = [session(at="08:00"), original(day=2 + days)]
        assert claim(events)["findings"] == []
        assert rows("duration", *events) == {("60054", "charge_lag", on(2 + days), fallen): (1, days * DAY)}


def test_a_claim_without_events_adds_nothing() -> None:
    """What a claim adds is a difference to what it added before, which for a new claim is nothing."""
    assert claim_rollup(Claim()) == {}


def test_rollups_count_what_waits_is_aside_is_found_and_was_denied() -> None:
    """Waiting and set-aside events are counted by reason, findings and denial reasons by payer."""
    early = [response("denied", day=1), response("accepted", day=1)]
    assert rollup(early) == {
        ("claims", "", "none", NO_DAY, -1): (1, 0),
        ("waiting", "", "no_submission", NO_DAY, -1): (2, 0),
    }
    events = [session(), original(), DENIED, session(day=21, session_id="S-2"), response("rejected", day=30)]
    found = {row: value for row, value in rollup(events).items() if row[0] not in ("duration", "open")}
    assert found == {
        ("claims", "60054", "denied", NO_DAY, -1): (1, 13_000),
        ("denial", "60054", "CO-50", NO_DAY, -1): (1, 0),
        ("finding", "60054", "late_charge", NO_DAY, -1): (1, 0),
        ("set_aside", "", "already_decided", NO_DAY, -1): (1, 0),
    }
    assert rows("denial", *events, replacement(day=40)) == {}
    latest = [session(payer_id="P1"), session(day=3, session_id="S-2", payer_id="P2")]
    assert rows("claims", *latest) == {("P2", "draft", NO_DAY, -1): (1, 0)}
