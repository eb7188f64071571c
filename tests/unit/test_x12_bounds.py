"""What no file can make the readers of X12 do: take long, hold much, guess, or repeat what stands in it."""

import re
import time
import tracemalloc
from collections.abc import Iterable
from pathlib import Path

import pytest

from services.commands.intake_files import show_files
from services.intake.facts import Remittance, Unpublished
from services.intake.files import Item, Publishable, items
from services.intake.loops import LOST
from services.intake.notebook import MAX_ANSWERS
from services.intake.remittances import MAX_PROVIDER_ADJUSTMENTS
from tests.x12_files import (
    acknowledged,
    batch,
    data,
    decided,
    file,
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

LIMIT_S = 2.0
"""Processor time for a file of a megabyte on a busy machine; one takes tenths of it."""
MEMORY_LIMIT = 48 * 2**20
"""Bytes of what the readers hold at one time, whatever they are given: two thirds are the largest claim's segments."""

LARGE = {
    "empty elements": ("CLM*A1*1", f"K3{'*' * 60_000}", 200),
    "short elements": ("CLM*A1*1", f"K3{'*٣' * 20_000}", 60),
    "lines": ("CLM*A1*1", "SV1*HC:97110*1*UN*1", 30_000),
    "adjustments": ("CLP*A1*1*1*1", "CAS*CO*45*1**45*1**45*1**45*1**45*1**45*1", 30_000),
    "decided lines": ("CLP*A1*1*1*1", "SVC*HC:97110*1*1", 30_000),
    "other claims as large": ("CLP*A1*1*1*1", "~".join(["K3" + "*٣" * 20_000] * 27 + ["CLP*A2*1*1*1"]), 2),
}

_LINE = served(1, "97110", "100")
SENT_TWICE = file(
    *interchange(
        batch(
            (*sent("A1*100***11:B:1", "HI*ABK:M545", *_LINE, payer="FIRST"), "CLM*A2*100***11:B:1", *_LINE),
            sent("A3*100***11:B:1", *_LINE, payer="OTHER", member="M2"),
        )
    )
)
PAID = file(*interchange(remittance(decided("A1*1*100*80", "REF*6R*1"), decided("A2*1*100*80"), total="160")))
ANSWERED = file(
    *interchange(
        acknowledged(
            *("HL*2*1*21*1", "NM1*41*2*CLINIC*****46*SUBMITTER", "HL*3*2*19*1", "NM1*85*2*CLINIC*****XX*1234567893"),
            *("HL*4*3*PT", "NM1*QC*1*DOE*JANE****MI*M1", "TRN*2*A1", "STC*A2:20*20260602"),
            *("HL*5*3*PT", "NM1*QC*1*DOE*JOHN****MI*M2", "TRN*2*A2", "STC*A2:20*20260602"),
        )
    )
)


def test_a_claim_of_very_many_statuses_or_remarks_is_read_in_no_time() -> None:
    """What a claim repeats is told once, and to know it again takes no longer the more there is."""
    many = range(15_000)
    statuses = [f"STC*A1:{number}*20260602**1*******A1:{number}:PR*A1:{number}:40" for number in many]
    claim = acknowledged("HL*2*1*PT", "TRN*2*A1", *statuses, "STC*A1:7*20260602")
    remarks = [f"MOA***M{number}*N{number}*O{number}*P{number}*M{number}" for number in many]
    began = time.process_time()
    found = read(file(*interchange(claim)))
    found += read(file(*interchange(remittance(decided("A1*1*100*80", *remarks)))))
    assert time.process_time() - began < LIMIT_S
    assert refusals(found) == [
        (509, "STC01: a claim has at most 1000 statuses"),
        (261, "MOA01: a claim has at most 1000 lines, as many adjustments, and as many remarks"),
    ]


def test_what_a_claim_repeats_is_told_once_and_in_order() -> None:
    """Statuses and remarks come as the payer wrote them, each for the first time it is said."""
    claim = acknowledged("HL*2*1*PT", "TRN*2*A1", "STC*A1:20*20260602", "STC*A1:19:PR*20260602", "STC*A1:20*20260602")
    found = read(file(*interchange(claim)))
    found += read(file(*interchange(remittance(decided("A1*1*100*80", "MOA***N2*M1*N2", "LQ*HE*M1", "LQ*HE*A9")))))
    assert len(of(Publishable, found)) == 2
    answered, paid = data(found)
    assert answered["statuses"] == [{"category": "A1", "code": "20"}, {"category": "A1", "code": "19", "entity": "PR"}]
    assert paid["remarks"] == ["N2", "M1", "A9"]


@pytest.mark.parametrize("name", LARGE)
def test_no_claim_is_held_that_is_larger_than_any_real_one(name: str) -> None:
    """However large a claim is, a part of it is held and the whole is refused."""
    first, repeated, times = LARGE[name]
    make = batch if first.startswith("CLM") else remittance
    head, _, rest = file(*interchange(make((first, "K3*HERE")))).partition(b"K3*HERE~\n")
    found, peak = _measured([head, *([f"{repeated}~\n".encode()] * times), rest])
    assert peak < MEMORY_LIMIT
    assert refusals(found)


def _measured(chunks: Iterable[bytes]) -> tuple[list[Item], int]:
    """Return what is read out of a file, and how many bytes were held at one time beside that."""
    with reading() as how:
        tracemalloc.start()
        try:
            found = list(items(chunks, how))
            return found, tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()


def test_a_payment_keeps_no_more_provider_adjustments_than_any_real_one() -> None:
    """PLB of another size than real ones are refused one by one, and the payment does not balance."""
    most = ("PLB*1*20261231" + "*WO:A1*1" * 6,) * 1_700
    found = remitted(total="-10000", plb=(*most, f"PLB*1*20261231*WO:{'9' * 51}*1"))
    [payment] = of(Remittance, found)
    assert len(payment.provider_adjustments) == MAX_PROVIDER_ADJUSTMENTS - 4  # a PLB is taken or refused whole
    assert not payment.balanced
    too_many, too_long = {rule for _, rule in refusals(found)}
    assert "a payment has at most 10000 provider adjustments" in too_many + too_long
    assert "has at most 50 characters" in too_many + too_long
    assert len(refusals(found)) == 1_700 - 1_666 + 1


def test_what_is_no_code_is_not_repeated_as_one() -> None:
    """Where a code of a public list belongs, another text is left out of what is told: it may be a patient's name."""
    plb = ("PLB*1*20261231*DOE JOHN:A1*1*WO:A1*1",)
    found = read(file(*interchange(remittance(decided("A1*1*80*80"), method="DOE", plb=plb))))
    found += read(file(*interchange(transaction("835", "K3*X"))).replace(b"ST*835", b"ST*90210734551"))
    [payment] = of(Remittance, found)
    assert (payment.method, [each.reason for each in payment.provider_adjustments]) == ("", ["", "WO"])
    assert [each.said for each in of(Unpublished, found)] == ["ST"]


def test_only_plb_adjusts_a_payment() -> None:
    """A segment that stands behind PLB, where none belongs, adjusts nothing."""
    found = remitted(decided("A1*1*80*80"), total="79", plb=("PLB*1*20261231*WO:A1*1", "CAS*CO*45*10*1*46*5*1"))
    [payment] = of(Remittance, found)
    assert [each.amount for each in payment.provider_adjustments] == [100]
    assert payment.balanced


@pytest.mark.parametrize(
    ("text", "place", "refused", "told"),
    [
        (SENT_TWICE, "NM1*PR*2*PLAN*****PI*FIRST", ["A1", "A2"], ["A3"]),
        (SENT_TWICE, "HI*ABK:M545", ["A2"], ["A3"]),
        (SENT_TWICE, "NM1*41*2*CLINIC*****46*SUBMITTER", ["A1", "A2", "A3"], []),
        (PAID, "N1*PR*PLAN*XV*87726", ["A1", "A2"], []),
        (PAID, "TRN*1*EFT1*1512345678", ["A1", "A2"], []),
        (PAID, "REF*6R*1", [], ["A2"]),
        (ANSWERED, "NM1*PR*2*PLAN*****PI*87726", ["A1", "A2"], []),
        (ANSWERED, "NM1*41*2*CLINIC*****46*SUBMITTER", ["A1", "A2"], []),
        (ANSWERED, "NM1*QC*1*DOE*JANE****MI*M1", ["A1"], ["A2"]),
    ],
)
def test_a_claim_is_not_told_under_what_stood_above_another(
    text: bytes, place: str, refused: list[str], told: list[str]
) -> None:
    """Where bytes above a claim cannot be read it is refused: it never gets payer, patient or day of another."""
    assert place.encode() in text
    found = read(text.replace(place.encode(), b"K3*" + b"9" * 70_000))
    assert [each.claim_id for each in of(Publishable, found)] == told
    lost = [number for number, rule in refusals(found) if LOST in rule]
    assert [_claim_at(text, number) for number in lost] == refused


def test_a_group_is_not_acknowledged_where_an_answer_in_it_is_lost() -> None:
    """A 999 of which bytes cannot be read acknowledges nothing behind them: the lost answer may be a rejection."""
    claims = file(*interchange(batch(sent("A1*100***11:B:1", *served(1, "97110", "100")))))
    answers = ("AK1*HC*1", "AK2*837*0001", "IK5*R", "AK2*837*0002", "IK5*A", "AK9*P*2*2*1")
    answer = file(*interchange(transaction("999", *answers), sender="RECEIVER", receiver="SENDER", day="20260603"))
    assert [each["response"] for each in data(read(answer, claims))] == ["rejected"]
    found = read(answer.replace(b"IK5*R", b"IK5*" + b"R" * 70_000), claims)
    assert data(found) == []
    assert [number for number, rule in refusals(found) if LOST in rule] == [7, 9]


def _claim_at(text: bytes, number: int) -> str:
    """Return the claim that is named in a segment of a file, or in the one before it."""
    segments = text.decode().split("~\n")
    return next(part for part in "*".join(segments[number - 2 : number]).split("*") if re.fullmatch("A[0-9]", part))


def test_a_short_answer_cannot_tell_claims_without_end() -> None:
    """What a file answers again and again, a set, a group or a batch, it tells MAX_ANSWERS times and then refuses."""
    claims = file(*interchange(batch(*(sent(f"A{n}*100***11:B:1", *served(1, "97110", "100")) for n in range(9)))))
    named, grouped, turned = ("AK2*837*0001", "IK5*R"), ("AK1*HC*1", "AK9*R"), ("TRN*2*BATCH1", "STC*A3:21*20260603")
    for repeated in (transaction("999", "AK1*HC*1", *named * 50), transaction("999", *grouped * 50)):
        answer = file(*interchange(repeated, sender="RECEIVER", receiver="SENDER", day="20260603"))
        for again in range(2):  # another file begins anew
            found = read(answer, claims, *[answer] * again)
            assert len(data(found)) == 9 * MAX_ANSWERS
            assert len(refusals(found)) == 50 - MAX_ANSWERS
            assert all(rule.endswith("a file answers a set at most 10 times") for _, rule in refusals(found))
    answer = file(*interchange(acknowledged("HL*2*1*21", *turned * 50), sender="RECEIVER", receiver="SENDER"))
    found = read(answer, claims)
    assert len(data(found)) == 9 * MAX_ANSWERS
    assert {rule for _, rule in refusals(found)} == {"STC01: a file answers a batch at most 10 times"}


def test_a_file_cannot_steer_the_terminal(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """What a table shows of a file is shown as text: escape sequences in trace or payer are no orders to a terminal."""
    hostile = remittance(decided("A1*1*80*80"), trace="\x1b[2J\x07", payer="\x1b]0;x\x9b")
    (tmp_path / "hostile.edi").write_bytes(file(*interchange(hostile)))
    tally = show_files([str(tmp_path / "hostile.edi")], None, json=False)
    assert tally.events.total() == 1
    shown = capsys.readouterr().out
    assert "[2J" in shown
    assert all(each.isprintable() or each == "\n" for each in shown)


def test_an_acknowledgement_of_a_large_batch_takes_no_longer_for_each_claim() -> None:
    """Which submission each claim of a 277CA answers is found at once, however many claims the batch has."""
    numbers = range(6_000)
    claims = file(*interchange(batch(*(sent(f"A{n}*100***11:B:1", *served(1, "97110", "100")) for n in numbers))))
    head = ("HL*2*1*21*1", "NM1*41*2*CLINIC*****46*SENDER", "TRN*2*BATCH1")
    answers = (f"HL*3*2*PT~TRN*2*A{number}~STC*A2:20*20260603" for number in numbers)
    answer = file(*interchange(acknowledged(*head, *answers), sender="RECEIVER", receiver="SENDER", day="20260603"))
    with reading() as how:
        list(items([claims], how))
        began = time.process_time()
        found = data(items([answer], how))
        assert time.process_time() - began < LIMIT_S
    assert len({each["submission_id"] for each in found}) == len(numbers)
