"""What is too long, too much or undated in a file, and how much of it is counted."""

import pytest

from services.intake import files
from services.intake.facts import Remittance, Unpublished
from services.intake.files import Tally, items
from services.intake.loops import LOST, MAX_LOOP_CHARACTERS, MAX_LOOP_SEGMENTS
from services.intake.segments import MAX_SEGMENT_BYTES
from tests.x12_files import (
    acknowledged,
    batch,
    chunks,
    decided,
    events,
    file,
    findings,
    interchange,
    of,
    read,
    reading,
    refusals,
    remittance,
    remitted,
    sent,
    served,
    transaction,
)

FINE = decided("A1*1*100*80", "CAS*CO*45*20"), decided("A3*1*100*80", "CAS*CO*45*20")
STATUS = ("HL*4*3*PT", "NM1*QC*1*DOE*JANE", "TRN*2*A1")


@pytest.mark.parametrize("size", [1000, 70_000, 10_000_000])
@pytest.mark.parametrize("length", [MAX_SEGMENT_BYTES, 10 * MAX_SEGMENT_BYTES])
def test_an_overlong_segment_takes_only_its_own_claim(length: int, size: int) -> None:
    """A segment that is longer than any is not held in memory, and costs its claim and no other."""
    long = decided("A2*1*100*80", "NTE*ADD*" + "x" * length, "CAS*CO*45*20")
    text = file(*interchange(remittance(FINE[0], long, FINE[1])))
    with reading() as how:
        found = list(items(chunks(text, size), how))
    assert [event["subject"] for event in events(found)] == ["A1", "A3"]
    assert refusals(found) == [(13, f"a segment has at most {MAX_SEGMENT_BYTES} bytes")]
    assert findings(found) == ["remittance_balance"]


@pytest.mark.parametrize(
    ("before", "published"),
    [("BHT", []), ("NM1*40", []), ("NM1*85", ["A1", "A2"]), ("NM1*IL*1*DOE", ["A2"]), ("CLM*A1", ["A2"])],
)
def test_a_subscriber_that_cannot_be_read_is_nobody_elses(before: str, published: list[str]) -> None:
    """Claims under a subscriber of whom a part is unreadable are refused: they never go to the payer before."""
    claims = [sent(f"A{number}*9***11:B:1", *served(1, "97124", "9"), payer=f"P{number}") for number in (1, 2)]
    found = read(file(*spoiled(interchange(batch(*claims)), before)))
    assert [(each["subject"], each["data"]["payer_id"]) for each in events(found)] == [
        (claim_id, f"P{claim_id[1]}") for claim_id in published
    ]
    later = read(file(*spoiled(interchange(batch(*claims)), "NM1*PR*2*PLAN*****PI*P2")))
    assert [(each["subject"], each["data"]["payer_id"]) for each in events(later)] == [("A1", "P1")]
    assert [rule for _, rule in refusals(later)][1:] == [f"CLM01: {LOST}"]


@pytest.mark.parametrize(
    ("before", "published"),
    [("TRN", []), ("N1*PR", []), ("N1*PE", []), ("LX", []), ("CLP*A1", ["A1", "A3"]), ("CAS", ["A3"])],
)
def test_a_payment_that_cannot_be_read_decides_nothing(before: str, published: list[str]) -> None:
    """Where payer, trace or day may be lost no claim is published under another's; a lost claim loses no other."""
    found = read(file(*spoiled(interchange(remittance(*FINE)), before)))
    assert [event["subject"] for event in events(found)] == published
    assert [paid for paid in of(Remittance, found) if paid.balanced] == []


@pytest.mark.parametrize(
    ("before", "published"),
    [
        *(("BHT", []), ("NM1*PR", []), ("NM1*41", []), ("NM1*85", []), ("NM1*QC*1*ONE", ["A2"])),
        *(("STC*A2", ["A2"]), ("NM1*QC*1*TWO", ["A1"])),
    ],
)
def test_an_answer_under_what_cannot_be_read_is_nobody_elses(before: str, published: list[str]) -> None:
    """A status below an unreadable patient, or below an unreadable payer, is refused and given to no other."""
    loops = ["HL*2*1*21*1", "NM1*41*2*CLINIC", "HL*3*2*19*1", "NM1*85*2*CLINIC"]
    for number, name in ((1, "ONE"), (2, "TWO")):
        loops += ("HL*4*3*PT", f"NM1*QC*1*{name}****MI*M{number}", f"TRN*2*A{number}", "STC*A2:20*20260603")
    found = read(file(*spoiled(interchange(acknowledged(*loops)), before)))
    assert [event["subject"] for event in events(found)] == published


def test_an_overlong_segment_at_the_end_is_told() -> None:
    """A segment that is too long and never ends is told as such."""
    text = file(*interchange(remittance(*FINE)))
    cut = text[: text.index(b"SE*")] + b"NTE*ADD*" + b"x" * (2 * MAX_SEGMENT_BYTES)
    with reading() as how:
        found = list(items(chunks(cut, 1000), how))
    assert [event["subject"] for event in events(found)] == ["A1"]
    assert refusals(found) == [(14, f"a segment has at most {MAX_SEGMENT_BYTES} bytes")]


@pytest.mark.parametrize("much", [("REF*EA*1",) * MAX_LOOP_SEGMENTS, (f"NTE*ADD*{'x' * 60_000}",) * 18])
def test_a_claim_that_is_too_much_is_refused_alone(much: tuple[str, ...]) -> None:
    """A claim of more segments or characters than any real one is not held, and the next one is read."""
    found = remitted(FINE[0], decided("A2*1*100*80", *much, "CAS*CO*45*20"), FINE[1])
    assert [event["subject"] for event in events(found)] == ["A1", "A3"]
    assert [rule for _, rule in refusals(found)] == [
        f"a claim has at most {MAX_LOOP_SEGMENTS} segments and {MAX_LOOP_CHARACTERS} characters"
    ]


def test_a_claim_that_is_more_than_an_event_may_be_is_refused_alone() -> None:
    """The contract's own limits have the last word, and its refusal names path and rule."""
    lines = [segment for number in range(1001) for segment in ("SVC*HC:97124*0*0", f"REF*6R*{number}")]
    found = remitted(decided("A2*1*100*80", *lines, "CAS*CO*45*20"), FINE[1])
    assert [event["subject"] for event in events(found)] == ["A3"]
    assert [rule.split(":")[0] for _, rule in refusals(found)] == ["SVC01"]


@pytest.mark.parametrize(
    ("stc_day", "written", "envelope", "time", "told"),
    [
        ("20260231", "20260603", "20260604", "2026-06-03T09:30:00-04:00", ["bad_date"]),
        ("20260231", "20260631", "20260604", "2026-06-04T00:00:00Z", ["bad_date"]),
        ("", "", "20260604", "2026-06-04T00:00:00Z", []),
    ],
)
def test_a_status_without_a_day_has_the_files(
    stc_day: str, written: str, envelope: str, time: str, told: list[str]
) -> None:
    """A status whose own day is none was given when the file was written, else when it was sent."""
    text = acknowledged(*STATUS, f"STC*A2:20*{stc_day}", day=written)
    found = read(file(*interchange(text, day=envelope)))
    assert ([event["time"] for event in events(found)], findings(found)) == ([time], told)


def test_an_answer_that_nobody_can_date_is_refused() -> None:
    """Without any day nobody knows when something was answered, so it is told and not published."""
    status = read(file(*interchange(acknowledged(*STATUS, "STC*A2:20*", day=""), day="20261301")))
    assert refusals(status) == [(10, "STC02: neither STC02 nor BHT04 nor GS04 is a date")]
    question = file(*interchange(batch(sent("A1*0***11:B:1"))))
    syntax = transaction("999", "AK1*HC*1", "AK2*837*0001", "IK5*A", "AK9*A*1*1*1")
    answer = file(*interchange(syntax, sender="RECEIVER", receiver="SENDER", day="20261301"))
    assert refusals(read(answer, question)) == [
        (6, "IK501: GS04 is no date, so nobody knows when this was answered"),
    ]
    undated = remittance(FINE[0], decided="", paid_on="20261301")
    assert refusals(read(file(*interchange(undated, day="20261301")))) == [
        (9, "CLP01: none of DTM*405, BPR16 and GS04 is a date, so nobody knows when this was decided"),
    ]


def test_other_sets_are_told_and_passed_over() -> None:
    """A set of a kind that is not read is told by its kind, once, and what stands around it is read."""
    other = ("ST*271*0002*005010X279A1", "BHT*0022*11*1*20260601*1200", "NM1*IL*1*DOE*JANE", "SE*4*0002")
    found = read(file(*interchange(remittance(FINE[0]), other, remittance(FINE[1], control="0003"))))
    assert [event["subject"] for event in events(found)] == ["A1", "A3"]
    assert [(each.number, each.claim_id, each.said) for each in of(Unpublished, found)] == [(13, "", "ST 271")]


def test_a_tally_counts_what_a_file_held() -> None:
    """What a file held is counted by kind, finding and reason, and a thousand claims leave the count small."""
    tally = Tally()
    claims = (
        *(FINE[0], decided("A2*1*100*0", "CAS*CO*ZZ9*100"), decided("A3*25*100*0"), decided("A4*19*100*100")),
        *(decided("A5*1*much*0"), decided("A6*1*100*0", "CAS*CO*ZZ9*50*1*ZZ8*50")),
    )
    for item in remitted(*claims, plb=("PLB*1*20261231*WO:A1*1*FB*2",)):
        tally.count(item)
    assert tally.events == {"approved": 2, "denied": 2, "forwarded": 1}
    assert tally.findings == {"unknown_reason": 3, "remittance_balance": 1}
    assert tally.unknown_reasons == {"ZZ9": 2, "ZZ8": 1}
    assert (tally.unpublished, tally.remittances, tally.provider_adjustments, tally.refused) == (1, 1, 2, 1)


def test_a_submission_is_counted_by_its_kind() -> None:
    """A claim sent is counted as what was sent: an original, a replacement or a void."""
    tally = Tally()
    for item in read(file(*interchange(batch(sent("A1*100***11:B:8", "REF*F8*ICN1", *served(1, "97124", "100")))))):
        tally.count(item)
    assert tally.events == {"void": 1}


def test_reasons_without_end_are_not_all_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that makes up its reasons is counted in full, but only so many of them by name."""
    monkeypatch.setattr(files, "MAX_NAMED", 2)
    tally = Tally()
    for item in remitted(decided("A1*1*100*0", "CAS*CO*ZZ1*10*1*ZZ2*10*1*ZZ3*80")):
        tally.count(item)
    assert tally.findings["unknown_reason"] == 3
    assert tally.unknown_reasons == {"ZZ1": 1, "ZZ2": 1}


def spoiled(whole: tuple[str, ...], before: str) -> list[str]:
    """Return the segments with one that is too long to be read in front of the first that begins so."""
    at = next(place for place, segment in enumerate(whole) if segment.startswith(before))
    return [*whole[:at], "NTE*ADD*" + "x" * MAX_SEGMENT_BYTES, *whole[at:]]
