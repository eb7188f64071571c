"""What payers and clearinghouses write in practice, and what must not become of it: money twice, lost, or at the wrong
claim.
"""

from pathlib import Path

import pytest

from services.intake.facts import Remittance, Unpublished
from services.intake.files import Publishable, items
from services.intake.payments import Payments
from services.intake.sent import Sent
from services.settings import BadSetting
from tests.x12_files import (
    acknowledged,
    batch,
    data,
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

CLINIC, HOUSE = {"sender": "CLINIC", "receiver": "HOUSE"}, {"sender": "HOUSE", "receiver": "CLINIC"}
RECEIVER = ("HL*2*1*21*1", "NM1*41*2*CLINIC*****46*SUBMITTER")
LINE = "SVC*HC:97124*100*{}"


def responses(clp: str, *segments: str, total: str = "0") -> list[str]:
    """What becomes of one claim of an 835."""
    return [each["response"] for each in data(remitted(decided(clp, *segments), total=total))]


@pytest.mark.parametrize(
    ("segments", "expected"),
    [
        ((), "pended"),
        (("CAS*CO*45*60",), "pended"),
        (("MOA***MA130",), "denied"),
        (("CAS*CO*45*100",), "approved"),
        (("CAS*CO*50*100", "CAS*CO*50*-100", "CAS*PR*1*100"), "approved"),
        (("CAS*CO*133*0**29*100",), "denied"),
        (("CAS*CO*045*100",), "approved"),
        (("CAS*CO*24*100",), "approved"),
    ],
    ids=["unexplained", "in part", "unprocessable", "contract", "taken back", "nothing pends", "zeros", "capitation"],
)
def test_nothing_paid_is_approved_only_where_all_is_explained(segments: tuple[str, ...], expected: str) -> None:
    """A zero payment is approved where reasons that deny nothing carry the whole charge, and never in silence."""
    assert responses("A1*1*100*0", *segments) == [expected]


def test_a_price_without_a_decision_moves_no_money() -> None:
    """A predetermination is no part of the payment: the remittance balances without it."""
    [paid] = of(Remittance, found := remitted(decided("A1*25*100*50", "CAS*CO*45*50"), total="0"))
    assert (paid.claims_paid, paid.balanced, len(of(Unpublished, found)), events(found)) == (0, True, 1, [])


@pytest.mark.parametrize("claim_id", ["0", "000"])
def test_a_claim_that_the_payer_could_not_name_is_nobodys(claim_id: str) -> None:
    """Payers write 0 where they had no control number: two patients' claims must not become one."""
    found = remitted(decided(f"{claim_id}*1*100*100**12*ICN1"), decided("A1*1*70*70**12*ICN2"), total="170")
    assert [event["subject"] for event in events(found)] == ["A1"]
    assert [rule for _, rule in refusals(found)] == ["CLP01: 0 names no claim: who wrote it had no number of ours"]


def test_a_reversal_that_hides_what_was_allowed_is_told() -> None:
    """Where a reversal has neither AMT*B6 nor a patient's share, what was allowed may stand: a finding says so."""
    assert findings(remitted(decided("A1*22*-200*-80**12*ICN1", "CAS*CR*45*-120"), total="-80")) == [
        "reversal_without_shares"
    ]
    whole = decided("A1*22*-200*-80*-20*12*ICN1", "CAS*CO*45*-100", "CAS*PR*2*-20")
    assert findings(remitted(whole, total="-80")) == []
    unsigned = remitted(decided("A1*22*200*-80*-20*12*ICN1", "CAS*CO*45*-100", "CAS*PR*2*-20"), total="-80")
    assert [(each["charge"], each["allowed"]) for each in data(unsigned)] == [("-200.00", "-100.00")]


def test_a_payment_balances_only_where_all_its_claims_are_published() -> None:
    """A claim that the contract refuses leaves its money without an event, so the remittance does not balance."""
    found = remitted(decided("A1*1*100*100*-5"), total="100")
    assert [paid.balanced for paid in of(Remittance, found)] == [False]
    assert len(refusals(found)) == 1


def test_money_below_zero_is_a_reversal_or_an_error() -> None:
    """A takeback that does not say so is refused; a line below zero in a payment is left out, and the claim counts."""
    assert refusals(remitted(decided("A1*1*100*-80"), total="-80")) == [
        (10, "CLP04: below zero only on a reversal (CLP02 22)")
    ]
    found = remitted(
        decided("A1*1*100*50", LINE.format("80"), "CAS*CO*45*20", "SVC*HC:97140*0*-30", "CAS*CO*45*30"), total="50"
    )
    assert [(each["paid"], [line.get("paid") for line in each["lines"]]) for each in data(found)] == [
        ("50.00", ["80.00", None])
    ]
    assert "line_below_zero" in findings(found)


def test_lines_are_told_apart() -> None:
    """Where a line has no control number, or two have the same, every line goes by its place."""
    for controls in (("1", "", "2"), ("1", "1", "2"), ("LONGER-THAN-SIXTEEN", "1", "2")):
        lines = [
            segment
            for control in controls
            for segment in ("SVC*HC:97124*10*0", "CAS*CO*97*10", *((f"REF*6R*{control}",) if control else ()))
        ]
        [response] = data(remitted(decided("A1*1*30*0", *lines), total="0"))
        assert [line["line"] for line in response["lines"]] == ["1", "2", "3"]
        assert [each["line"] for each in response["adjustments"]] == ["1", "2", "3"]


def test_equal_decisions_of_different_days_of_service_are_two() -> None:
    """Two visits refused alike, without a payer's number, in two files of one day are two facts."""
    ids = {
        events(remitted(decided("A1*1*100*0", LINE.format("0"), f"DTM*472*{day}", "CAS*CO*50*100"), total="0"))[0]["id"]
        for day in ("20260501", "20260508", "20260501")
    }
    assert len(ids) == 2


@pytest.mark.parametrize("code", ["DOE JANE", "W123456789", "19461301", "jane"])
def test_what_is_no_code_is_repeated_nowhere(code: str) -> None:
    """A name or number where a reason belongs refuses the claim; where a remark belongs it is left out."""
    reason = remitted(decided("A1*1*100*0", f"CAS*CO*{code}*100"), total="0")
    assert (events(reason), len(refusals(reason))) == ([], 1)
    remark = remitted(decided("A1*1*100*0", "CAS*CO*50*100", f"LQ*HE*{code}"), total="0")
    assert findings(remark) == ["bad_remark"]
    assert code not in repr(reason) + repr(remark)


def test_a_place_in_the_file_is_told_in_numbers() -> None:
    """A control number that is no number is not repeated: it may be anything."""
    found = read(file(*interchange(remittance(decided("A1*1*0*0"), total="0", control="DOE JANE"))))
    [item] = of(Publishable, found)
    assert b"ISA13=000000001 GS06=1 ST02=? segment=10" in (item.record.value or b"")
    assert "DOE" not in repr(found)


def test_a_provider_adjustment_names_its_claim_and_no_patient() -> None:
    """Of a PLB reference only the payer's number is kept: behind a blank some payers put the patient's."""
    plb = ("PLB*1234567893*20261231*WO:ICN1 1EG4TE5MK73*30*FB>ICN2*-10",)
    [paid] = of(Remittance, found := remitted(decided("A1*1*100*80**12*ICN1", "CAS*CO*45*20"), total="60", plb=plb))
    assert [(each.reason, each.reference, each.claim_id) for each in paid.provider_adjustments] == [
        ("WO", "ICN1", "A1"),
        ("FB", "ICN2", None),
    ]
    assert (paid.balanced, "1EG4TE5MK73" in repr(found)) == (True, False)


def test_a_segment_whose_tag_is_none_hides_no_claim() -> None:
    """A claim behind a garbled tag is refused where it stands; it does not become a part of the claim before."""
    padded = file(*interchange(remittance(decided("A1*1*50*50"), ("CLP *A2*1*50*50",), total="100")))
    assert [event["subject"] for event in events(read(padded))] == ["A1", "A2"]
    garbled = read(padded.replace(b"CLP *A2", b"C P*A2"))
    assert events(garbled) == []
    assert [rule for _, rule in refusals(garbled)] == ["a segment begins with a tag of two or three letters and digits"]


def test_a_test_interchange_is_told() -> None:
    """ISA15 T is a finding: what was sent as a test should not pay anybody in silence."""
    text = file(*interchange(remittance(decided("A1*1*0*0"), total="0"))).replace(b"*0*P*:", b"*0*T*:")
    assert findings(read(text)) == ["test_interchange"]


def test_a_number_of_any_length_is_no_crash() -> None:
    """Units of five thousand digits are no units."""
    found = remitted(decided("A1*1*100*100", f"SVC*HC:97124*100*100**{'0' * 5000}1"), total="100")
    assert data(found)[0]["lines"][0]["units"] == 1
    assert (
        "units" not in data(remitted(decided("A1*1*9*9", f"SVC*HC:97124*9*9**{'9' * 5000}"), total="9"))[0]["lines"][0]
    )


# --- answers to what was sent ---


def sent_on(day: str, clock: str, number: str, *claims: str) -> bytes:
    """A file with one batch, under numbers that small programs never change."""
    told = [sent(f"{claim}*9***11:B:1", *served(1, "97124", "9")) for claim in claims]
    return file(*interchange(batch(*told, number=number, day=day, clock=clock), day=day, clock=clock, **CLINIC))


def test_numbers_that_are_used_again_within_days_are_not_guessed() -> None:
    """Where two batches went out under equal control numbers a 999 could mean either, so it rejects neither."""
    texts = [sent_on("20260602", "0800", "B1", "A1"), sent_on("20260602", "1400", "B2", "A2")]
    refusal = file(
        *interchange(transaction("999", "AK1*HC*1", "AK2*837*0001", "IK5*R*5", "AK9*R*1*1*0"), day="20260602", **HOUSE)
    )
    assert [event["subject"] for event in events(read(refusal, texts[0]))] == ["A1"]
    found = read(refusal, *texts)
    assert (events(found), {rule.partition(":")[0] for _, rule in refusals(found)}) == ([], {"AK102"})


def test_a_refused_group_takes_its_accepted_sets_with_it() -> None:
    """AK9 R over IK5 A is a rejection: nothing of the group was taken."""
    refusal = transaction("999", "AK1*HC*1", "AK2*837*0001", "IK5*A", "AK9*R*1*1*0")
    found = read(file(*interchange(refusal, day="20260602", **HOUSE)), sent_on("20260602", "0800", "B1", "A1"))
    assert [each["response"] for each in data(found)] == ["acknowledged", "rejected"]


def test_a_rejection_names_the_submission_that_it_rejects() -> None:
    """A 277CA gives back the batch's number: sent twice, the claim's second submission is rejected and not its first,
    and two rejections of two submissions are two facts even where they say the same.
    """
    texts = [sent_on("20260601", "0800", "B1", "A1"), sent_on("20260602", "0900", "B2", "A1")]
    named = [event["data"]["submission_id"] for text in texts for event in events(read(text))]
    told = []
    for number in ("B1", "B2"):
        said = ("TRN*2*A1", "STC*A7:562:85*20260602*U*9")
        answer = acknowledged(*RECEIVER, f"TRN*2*{number}", "HL*4*2*PT", "NM1*QC*1*DOE*JANE", *said)
        told += events(read(file(*interchange(answer, **HOUSE)), *texts))
    assert [event["data"]["submission_id"] for event in told] == named
    assert {event["time"] for event in told} == {"2026-06-03T09:30:00-04:00"}
    assert len({event["id"] for event in told}) == 2


def test_a_providers_rejection_rejects_no_other_providers_claims() -> None:
    """A rejection at the provider's level names no claim, and the batch is not its own: a person must look."""
    loops = (*RECEIVER, "HL*3*2*19*0", "NM1*85*2*CLINIC*****XX*1234567893", "TRN*1*B1", "STC*A7:562:85*20260603*U")
    found = read(file(*interchange(acknowledged(*loops), **HOUSE)), sent_on("20260602", "0800", "B1", "A1"))
    assert events(found) == []
    assert [rule for _, rule in refusals(found)] == ["STC01: a provider's claims are rejected, and nothing names them"]


def test_the_day_of_receipt_stands_with_who_answers() -> None:
    """The payer's day of receipt is told of an acceptance whether it stands with the source or with the receiver."""
    said = ("HL*4*2*PT", "NM1*QC*1*DOE*JANE", "TRN*2*A1", "STC*A2:20*20260603")
    for loops in (("TRN*1*X", "DTP*050*D8*20260602", *RECEIVER), (*RECEIVER, "DTP*050*D8*20260602")):
        assert data(read(file(*interchange(acknowledged(*loops, *said)))))[0]["received_on"] == "2026-06-02"


def test_a_dependants_own_number_is_no_siblings() -> None:
    """Of one subscriber's patients each with a number has a reference of their own, others have the subscriber's."""
    family = (
        *("HL*2*1*22*1", "SBR*P********CI", "NM1*IL*1*DOE*JOE****MI*PARENT", "NM1*PR*2*PLAN*****PI*87726"),
        *("HL*3*2*23*0", "PAT*19", "NM1*QC*1*DOE*ANN****MI*KID1", "CLM*A1*9***11:B:1", *served(1, "97124", "9")),
        *("HL*4*2*23*0", "PAT*19", "NM1*QC*1*DOE*BEN****MI*KID2", "CLM*A2*9***11:B:1", *served(1, "97124", "9")),
        *("HL*5*2*23*0", "PAT*19", "NM1*QC*1*DOE*CAL", "CLM*A3*9***11:B:1", *served(1, "97124", "9")),
    )
    alone = read(
        file(*interchange(batch(sent("P1*9***11:B:1", *served(1, "97124", "9"), member="PARENT")))),
        patient_key=b"k" * 16,
    )
    told = events(read(file(*interchange(batch(family))), patient_key=b"k" * 16))
    references = [event["patientref"] for event in told]
    assert len(set(references)) == 3
    assert references[2] == events(alone)[0]["patientref"]


def test_an_answer_that_ends_too_soon_is_refused() -> None:
    """A 999 cut before its verdict says nothing, and that is told: its rejection must not be lost in silence."""
    whole = file(
        *interchange(transaction("999", "AK1*HC*1", "AK2*837*0001", "IK5*R*5", "AK9*R*1*1*0"), day="20260602", **HOUSE)
    )
    text = sent_on("20260602", "0800", "B1", "A1")
    for end in (b"IK5", b"AK9", b"SE*"):
        assert refusals(read(whole[: whole.index(end)], text)) != [], end


def test_an_answer_means_nothing_that_was_sent_long_before() -> None:
    """A 999 or a batch's rejection that comes a year later is of a file that was not read: nothing is rejected."""
    text = sent_on("20250102", "0800", "B1", "A1")
    refusal = transaction("999", "AK1*HC*1", "AK2*837*0001", "IK5*R*5", "AK9*R*1*1*0")
    batch_refusal = acknowledged(*RECEIVER, "TRN*2*B1", "STC*A8:1:85*20260603*U")
    for answer in (refusal, batch_refusal):
        found = read(file(*interchange(answer, day="20260603", **HOUSE)), text)
        assert (events(found), len(refusals(found)) > 0) == ([], True)


def test_an_answer_is_named_by_what_it_says() -> None:
    """A 277CA has the same ids whether the 837 that it answers was read before or not."""
    said = ("HL*4*2*PT", "NM1*QC*1*DOE*JANE", "TRN*2*A1", "STC*A7:562:85*20260602*U*9")
    text = file(*interchange(acknowledged(*RECEIVER, "TRN*2*B1", *said), **HOUSE))
    alone, after = events(read(text)), events(read(text, sent_on("20260602", "0800", "B1", "A1")))
    assert [each["id"] for each in alone] == [each["id"] for each in after]
    assert ["submission_id" in each["data"] for each in (*alone, *after)] == [False, True]


def test_what_one_receiver_is_told_is_no_others() -> None:
    """A batch's number and a day of receipt end with the loop that they stand in."""
    texts = [sent_on("20260601", "0800", "B1", "A1"), sent_on("20260602", "0900", "B2", "A1")]
    said = ("HL*4*2*PT", "NM1*QC*1*DOE*JANE", "TRN*2*A1", "STC*A7:562:85*20260602*U*9")
    loops = (*RECEIVER, "TRN*2*B1", "HL*3*1*21*1", "NM1*41*2*CLINIC", *said)
    assert "submission_id" not in data(read(file(*interchange(acknowledged(*loops), **HOUSE)), *texts))[0]
    taken = ("HL*4*2*PT", "NM1*QC*1*DOE*JANE", "TRN*2*A2", "STC*A2:20*20260603")
    others = ("TRN*1*X", "DTP*050*D8*20260101", "HL*5**20*1", "NM1*PR*2*OTHER*****PI*OTHER", *RECEIVER, *taken)
    [told] = data(read(file(*interchange(acknowledged(*others)))))
    assert (told["payer_id"], "received_on" in told) == ("OTHER", False)


def test_zeros_name_no_claim_in_an_answer_or_a_submission() -> None:
    """0 where a claim's number belongs is refused in a 277CA and an 837, too."""
    assert refusals(read(file(*interchange(batch(sent("0*9***11:B:1", *served(1, "97124", "9")))))))
    said = ("HL*4*2*PT", "NM1*QC*1*DOE*JANE", "TRN*2*0", "STC*A7:562:85*20260602*U*9")
    found = read(file(*interchange(acknowledged(*RECEIVER, *said))))
    assert (events(found), [rule for _, rule in refusals(found)]) == (
        [],
        ["TRN02: 0 names no claim: who wrote it had no number of ours"],
    )


def test_a_remittance_that_is_made_again_counts_no_money_twice() -> None:
    """One payment's claim has one id whenever its 835 was made; notices without payment are told by their day."""
    whole = decided("A1*1*100*80**12*ICN1", "CAS*CO*45*20")
    notice = decided("A1*1*100*0**12*ICN1", "CAS*CO*50*100")
    paid, unpaid = set(), set()
    for day in ("20260601", "20260610"):
        paid.add(events(read(file(*interchange(remittance(whole, decided=day)))))[0]["id"])
        made = remittance(notice, total="0", trace="0000", method="NON", decided=day)
        unpaid.add(events(read(file(*interchange(made))))[0]["id"])
    assert (len(paid), len(unpaid)) == (1, 2)


def test_notices_that_share_a_trace_are_all_kept() -> None:
    """Two payments of zeros on one day are two; one that is read again, mended, takes its own place."""
    with reading() as how:
        for claim_id, taken, total in (("A1", "40", "-40"), ("A2", "60", "-61"), ("A2", "60", "-60")):
            plb = (f"PLB*1234567893*20261231*WO:ICN-{claim_id}*{taken}",)
            claim = decided(f"{claim_id}*1*100*0**12*0", "CAS*CO*45*100")
            made = remittance(claim, total=total, trace="0000", method="NON", paid_on="", plb=plb)
            list(items([file(*interchange(made))], how))
        kept = sorted(how.payments.all(), key=lambda each: each.total)
        assert [(each.total, each.provider_adjustments[0].amount, each.balanced) for each in kept] == [
            (-6000, 6000, True),
            (-4000, 4000, True),
        ]
        assert how.payments.claim_named("1512345678", "0") is None


def test_what_a_reversal_takes_back_is_told_line_by_line() -> None:
    """Amounts of a reversal that lack their minus, or mix AMT*B6 with lines without, are taken back whole."""
    lines = ("SVC*HC:97124*100*-80", "CAS*CO*45*-20", "AMT*B6*80", "SVC*HC:97140*-100*-50", "CAS*CO*45*-50")
    [told] = data(remitted(decided("A1*22*200*-130*0*12*ICN1", *lines), total="-130"))
    assert (told["charge"], told["allowed"]) == ("-200.00", "-130.00")
    assert [(line["charge"], line["allowed"]) for line in told["lines"]] == [
        ("-100.00", "-80.00"),
        ("-100.00", "-50.00"),
    ]


@pytest.mark.parametrize("name", ["DOE JANE", "doe"])
def test_no_name_passes_as_a_procedure_or_a_status(name: str) -> None:
    """What has not the form of a code is left out with a finding, or refuses the status that it would be."""
    found = remitted(decided("A1*1*80*80", f"SVC*HC:{name}*80*80"))
    submitted = read(file(*interchange(batch(sent("A1*9***11:B:1", "LX*1", f"SV1*HC:{name}:{name}*9*UN*1***1")))))
    said = ("HL*4*2*PT", "NM1*QC*1*ROE*RITA", "TRN*2*A1", f"STC*A7:{name}:{name}*20260602*U*9")
    status = read(file(*interchange(acknowledged(*RECEIVER, *said))))
    assert (findings(found), findings(submitted), len(refusals(status))) == (["no_procedure"], ["no_procedure"], 1)
    assert name not in repr(found) + repr(submitted) + repr(status)


def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    """What stands in the place of our own file is told by its setting; an empty one is filled."""
    (tmp_path / "empty").touch()
    assert list(Payments.copy_of(tmp_path / "empty").all()) == []
    (tmp_path / "other").write_bytes(b"no database " * 1000)
    for use in (Payments, Payments.copy_of, Sent, Sent.copy_of):
        with pytest.raises(BadSetting, match="CLAIMPATH_DATA_DIR"):
            use(tmp_path / "other")
