"""The samples: valid, repeatable, balanced, like their payers' profiles; and their troubles are those announced."""

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from hashlib import sha256
from itertools import islice, pairwise
from random import Random
from statistics import median
from typing import get_args

import pytest

from events import codec
from events.contracts import ClaimSubmitted, Event, EventKind, PayerResponse, SessionRecorded
from events.samples import LATE, Message, Switches, histories, stream
from events.simulation.clinics import CLINICS, REFERRERS, timed_units, with_check_digit
from events.simulation.payers import PAYERS, Payer
from events.simulation.troubles import POISONS, contradicted, said_again
from events.topics import TOPICS
from services.claim import money
from services.lifecycle import fold

SEED = 7
CLAIMS = 1500
TROUBLES = Switches(duplicates=0.1, disorder=0.1, lateness=0.02, conflicts=0.05, poison=0.05)
DAY_US = 86_400_000_000
Told = list[tuple[Message, Event]]


def event_of(message: Message) -> Event:
    """The event in a message that holds one."""
    decoded = codec.decode(message)
    assert isinstance(decoded, codec.Decoded), decoded
    return decoded.event


def content_of(record: codec.Record) -> tuple[bytes, bytes]:
    """Identity and content, as the tracker compares them."""
    decoded = codec.decode(record)
    assert isinstance(decoded, codec.Decoded), decoded
    event = decoded.event
    return f"{event.claim_id} {event.source} {event.id}".encode(), codec.content(decoded.body)


@pytest.fixture(scope="module")
def told() -> list[Told]:
    """The claims of a modest sample, each event decoded."""
    return [[(message, event_of(message)) for message in history] for history in histories(CLAIMS, SEED)]


@pytest.fixture(scope="module")
def one_of_each(told: list[Told]) -> list[Message]:
    """An event of every kind."""
    return list({event.kind: message for history in told for message, event in history}.values())


def responses(told: list[Told]) -> Iterator[PayerResponse]:
    """Every answer in the sample."""
    return (event.data for history in told for _, event in history if isinstance(event.data, PayerResponse))


def test_every_claim_is_told_in_business_order_under_one_id(told: list[Told]) -> None:
    """A history is one claim's, its times never fall, and no source gives an id twice."""
    assert len(told) == CLAIMS
    assert len({history[0][1].claim_id for history in told}) == CLAIMS
    for history in told:
        events = [event for _, event in history]
        assert len({event.claim_id for event in events}) == 1
        assert all(earlier.time_us <= later.time_us for earlier, later in pairwise(events))
        assert len({event.id for event in events}) == len(events)
        assert len(events[0].claim_id) <= 38, "longer ids do not survive an 835"


def test_every_kind_of_event_occurs(told: list[Told]) -> None:
    """A modest sample holds every submission, every answer, a second payer, a second appeal and every payer."""
    events = [event for history in told for _, event in history]
    assert {event.kind for event in events} == {
        kind for part in get_args(EventKind) for kind in (get_args(part) or [part])
    }
    sent = [event.data for event in events if isinstance(event.data, ClaimSubmitted)]
    assert {submission.payer_rank for submission in sent} == {1, 2}
    assert {submission.appeal.level for submission in sent if submission.appeal} == {1, 2}
    assert {payer.id for payer in PAYERS} < {submission.payer_id for submission in sent}
    assert any(session.data.cancelled for session in events if isinstance(session.data, SessionRecorded))
    reasons = {part.reason for answer in responses(told) if answer.response == "denied" for part in answer.adjustments}
    assert {"4", "16", "18", "29", "50", "97", "119", "151", "193", "197"} <= reasons


def test_equal_arguments_give_equal_bytes() -> None:
    """A sample is the same in another process with another hash seed, and another seed gives another sample."""
    program = (
        "from events.samples import *; from hashlib import sha256; import sys; d = sha256()\n"
        "for m in stream(60, 3, Switches(duplicates=.1, disorder=.1, lateness=.1, conflicts=.1, poison=.1)):\n"
        "    d.update(repr(m).encode())\n"
        "sys.stdout.write(d.hexdigest())"
    )
    digests = [
        subprocess.run(
            [sys.executable, "-c", program],
            env=os.environ | {"PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
            timeout=60,
        ).stdout.decode()
        for seed in ("1", "2")
    ]
    here = sha256()
    for message in stream(60, 3, Switches(duplicates=0.1, disorder=0.1, lateness=0.1, conflicts=0.1, poison=0.1)):
        here.update(repr(message).encode())
    assert digests == [here.hexdigest()] * 2
    assert [*histories(5, 3)] != [*histories(5, 4)]


def test_money_balances_on_every_line_and_claim(told: list[Told]) -> None:
    """Charge = paid + adjustments on each line and in sum, for approvals, denials and reversals alike."""
    balanced = Counter[str]()
    for answer in responses(told):
        if not answer.lines:
            continue
        balanced[answer.response] += 1
        for line in answer.lines:
            adjusted = sum(part.amount for part in answer.adjustments if part.line == line.line)
            assert (line.charge or 0) == (line.paid or 0) + adjusted
        charge = sum(line.charge or 0 for line in answer.lines)
        assert charge == (answer.paid or 0) + sum(part.amount for part in answer.adjustments)
        assert answer.allowed == sum(line.allowed or 0 for line in answer.lines)
        assert answer.patient_responsibility == sum(part.amount for part in answer.adjustments if part.group == "PR")
    assert balanced.keys() == {"approved", "denied", "reversed"}


def test_what_is_billed_is_what_was_done(told: list[Told]) -> None:
    """A first submission charges the billable procedures of the sessions before it, line by line."""
    for history in told:
        sessions: dict[str, SessionRecorded] = {}
        for _, event in history:
            if isinstance(event.data, SessionRecorded):
                sessions[event.data.session_id] = event.data
            elif isinstance(event.data, ClaimSubmitted):
                done = [part for session in sessions.values() for part in session.procedures if part.units]
                assert [(part.code, part.units, part.charge) for part in done] == [
                    (line.code, line.units, line.charge) for line in event.data.lines
                ]
                assert event.data.total_charge == sum(part.charge for part in done)
                break


def test_a_settled_claim_leaves_no_dollar_unexplained(told: list[Told]) -> None:
    """The lifecycle reaches all five states, applies what it is told, and an approved claim has nothing open."""
    claims = [fold(event for _, event in history) for history in told]
    assert Counter(claim.state for claim in claims).keys() == {"draft", "submitted", "approved", "denied", "appealed"}
    assert {money(claim).open for claim in claims if claim.state == "approved"} == {0}


def decision_days(told: list[Told], payer: Payer) -> list[int]:
    """Days from the only submission to the first decision, where nothing held it up."""
    days = []
    for history in told:
        sent = [event for _, event in history if event.kind == "original"]
        decided = [event for _, event in history if event.kind in ("approved", "denied")]
        held = any(event.kind in ("pended", "rejected") for _, event in history)
        if decided and not held and isinstance(sent[0].data, ClaimSubmitted) and sent[0].data.payer_id == payer.id:
            days.append(decided[0].time_us // DAY_US - sent[0].time_us // DAY_US)
    return days


@pytest.mark.parametrize("payer", PAYERS, ids=lambda payer: payer.id)
def test_a_payer_decides_as_soon_as_described(told: list[Told], payer: Payer) -> None:
    """The median time to a decision is the profile's, within a quarter and a day."""
    days = decision_days(told, payer)
    assert len(days) > 30
    assert median(days) == pytest.approx(payer.decision.median_days, rel=0.25, abs=1)


def test_payers_reject_and_deny_as_often_as_described(told: list[Told]) -> None:
    """Rejections and first denials come in the shares of the profiles, within a third."""
    first = [
        next((event for _, event in history if event.kind in ("rejected", "approved", "denied")), None)
        for history in told
    ]
    found = Counter(event.kind for event in first if event)
    weights = sum(payer.weight for payer in PAYERS)
    rejected = sum(payer.rejected * payer.weight for payer in PAYERS) / weights
    denied = sum((1 - payer.rejected) * payer.denied * payer.weight for payer in PAYERS) / weights
    assert found["rejected"] / found.total() == pytest.approx(rejected, rel=0.33)
    assert found["denied"] / found.total() == pytest.approx(denied, rel=0.33)


def test_medicare_never_pays_before_its_floor(told: list[Told]) -> None:
    """No Medicare money moves earlier than 14 days after the claim was sent (payment floor for electronic claims)."""
    seen = 0
    for history in told:
        sent = None
        for _, event in history:
            if isinstance(event.data, ClaimSubmitted):
                sent = datetime.fromtimestamp(event.time_us / 1e6, UTC).date()
            elif isinstance(event.data, PayerResponse) and event.data.paid_on and event.data.payer_id == "MB001":
                assert sent is not None
                assert event.data.paid_on >= sent + timedelta(days=14)
                seen += 1
                break
    assert seen > 100


def test_a_sample_can_end_in_the_middle_of_things() -> None:
    """Nothing happens on the last day or later, and claims are open then."""
    until = date(2026, 3, 2)
    events = [event_of(message) for message in stream(200, SEED, until=until)]
    end_us = int(datetime(2026, 3, 2, tzinfo=UTC).timestamp()) * 1_000_000
    assert max(event.time_us for event in events) < end_us
    assert {event.claim_id for event in events if event.kind == "original"} > {
        event.claim_id for event in events if event.kind in ("approved", "denied")
    }


def test_a_stream_without_trouble_is_all_histories_by_time() -> None:
    """It holds every event of every history once, in business order."""
    messages = list(stream(150, SEED))
    times = [event_of(message).time_us for message in messages]
    assert times == sorted(times)
    assert Counter(m.value for m in messages) == Counter(m.value for history in histories(150, SEED) for m in history)


def test_a_stream_starts_at_once() -> None:
    """A million claims are not made before the first is told."""
    assert len(list(islice(stream(1_000_000, SEED), 20))) == 20


def test_a_reader_finds_the_outcomes_that_were_intended() -> None:
    """Counting accepted, duplicate, conflicting and refused records in order gives the counts announced."""
    first: dict[bytes, bytes] = {}
    found, intended = Counter[str](), Counter[str]()
    for message in stream(400, SEED, TROUBLES):
        intended[message.intended] += 1
        if isinstance(codec.decode(message), codec.Refusal):
            found["poison"] += 1
            continue
        identity, content = content_of(message)
        if identity not in first:
            first[identity] = content
            found["event"] += 1
        else:
            found["duplicate" if first[identity] == content else "conflict"] += 1
    assert found == intended
    for name, share in (("duplicate", 0.1), ("conflict", 0.05), ("poison", 0.05)):
        assert intended[name] / intended["event"] == pytest.approx(share, rel=0.25)


@pytest.mark.parametrize("switch", ["duplicates", "conflicts", "poison"])
def test_a_switch_adds_only_its_own_trouble(switch: str) -> None:
    """Each of the three adds its share of records and leaves the events in their order."""
    messages = list(stream(100, SEED, replace(Switches(), **{switch: 0.2})))
    assert {message.intended for message in messages} == {"event", switch.removesuffix("s")}
    assert [m.value for m in messages if m.intended == "event"] == [m.value for m in stream(100, SEED)]


@pytest.mark.parametrize(("switch", "least"), [("disorder", 0), ("lateness", 200)])
def test_moved_events_come_later_and_none_is_lost(switch: str, least: int) -> None:
    """Disorder moves an event a little, lateness far; the set of events stays."""
    tidy = [message.value for message in stream(1500, SEED)]
    moved = [message.value for message in stream(1500, SEED, replace(Switches(), **{switch: 0.02}))]
    assert moved != tidy
    assert Counter(moved) == Counter(tidy)
    place = {value: position for position, value in enumerate(moved)}
    delays = [place[value] - position for position, value in enumerate(tidy)]
    far = [delay for delay in delays if delay > least]
    assert len(far) / len(tidy) == pytest.approx(0.02, rel=0.5)
    assert max(delays) <= (LATE + 200 if least else 200)


def test_a_duplicate_is_the_same_fact_however_written(one_of_each: list[Message]) -> None:
    """Bytes, key order, offset, headers and mode may differ; identity and content do not."""
    chance = Random(SEED)
    ways = Counter[bool]()
    for message in one_of_each:
        for _ in range(20):
            again = said_again(message, chance)
            assert content_of(again) == content_of(message)
            ways[again.value == message.value] += 1
    assert ways[True]
    assert ways[False]


def test_a_conflict_is_another_fact_under_the_same_identity(one_of_each: list[Message]) -> None:
    """Only the content differs, for every kind of event."""
    for message in one_of_each:
        (identity, content), (same_identity, other_content) = content_of(message), content_of(contradicted(message))
        assert identity == same_identity
        assert content != other_content


@pytest.mark.parametrize("name", POISONS)
def test_poison_is_refused_for_its_reason(name: str, one_of_each: list[Message]) -> None:
    """Each way to spoil a record is refused for the reason it stands for, whatever event it began as."""
    poison = POISONS[name]
    for message in one_of_each:
        refusal = codec.decode(poison.spoil(message))
        assert isinstance(refusal, codec.Refusal)
        assert refusal.reason == poison.reason


def test_every_reason_to_refuse_has_a_poison_and_every_poison_occurs() -> None:
    """The table covers all reasons, and a modest stream all of the table."""
    assert {poison.reason for poison in POISONS.values()} == set(get_args(codec.RefusalReason))
    poison = Counter(m.value for m in stream(150, SEED, Switches(poison=0.5)) if m.intended == "poison")
    reasons = Counter(
        refusal.reason
        for m in stream(150, SEED, Switches(poison=0.5))
        if isinstance(refusal := codec.decode(m), codec.Refusal)
    )
    assert reasons.total() == poison.total()
    assert reasons.keys() == set(get_args(codec.RefusalReason))


def test_headers_are_lists() -> None:
    """Kafka's Python clients take headers as a list and as nothing else."""
    assert {type(message.headers) for message in stream(100, SEED, TROUBLES)} == {list}


def test_all_three_topics_are_keyed_by_claim(one_of_each: list[Message]) -> None:
    """Each record's key is its claim id, which the codec demands."""
    assert {message.topic for message in one_of_each} == set(TOPICS)
    assert {message.key for message in one_of_each} >= {event_of(message).claim_id.encode() for message in one_of_each}


@pytest.mark.parametrize(
    ("minutes", "cms", "ama"),
    [
        ({"97112": 24, "97110": 23}, {"97112": 2, "97110": 1}, {"97112": 2, "97110": 2}),
        ({"97110": 33, "97140": 7}, {"97110": 2, "97140": 1}, {"97110": 2, "97140": 0}),
        (
            {"97110": 18, "97140": 13, "97116": 10, "97035": 8},
            {"97110": 1, "97140": 1, "97116": 1, "97035": 0},
            {"97110": 1, "97140": 1, "97116": 1, "97035": 1},
        ),
        ({"97110": 18, "97140": 10}, {"97110": 1, "97140": 1}, {"97110": 1, "97140": 1}),
        ({"97124": 60}, {"97124": 4}, {"97124": 4}),
        ({"97124": 7}, {"97124": 0}, {"97124": 0}),
    ],
)
def test_timed_units_follow_the_rule_of_the_payer(
    minutes: dict[str, int], cms: dict[str, int], ama: dict[str, int]
) -> None:
    """The worked examples of the Medicare manual, ch. 5 §20.2.C, and what the midpoint rule makes of them."""
    assert timed_units(minutes, "cms") == cms
    assert timed_units(minutes, "ama") == ama


def test_providers_have_numbers_with_a_valid_check_digit() -> None:
    """Every NPI is a Luhn number behind the prefix 80840."""
    assert with_check_digit("123456789") == "1234567893"
    for npi in [*REFERRERS, *(therapist.npi for clinic in CLINICS for therapist in clinic.therapists)]:
        digits = [int(digit) for digit in reversed(f"80840{npi}")]
        doubled = [sum(divmod(2 * digit, 10)) for digit in digits[1::2]]
        assert len(npi) == 10
        assert (sum(digits[::2]) + sum(doubled)) % 10 == 0
