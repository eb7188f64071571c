"""What an 835 decides of a claim: money and reasons say it, CLP02 only that the claim was processed."""

import pytest

from services.intake.facts import Remittance, Unpublished
from tests.x12_files import data, decided, events, file, findings, interchange, of, read, refusals, remittance, remitted

LINE = "SVC*HC:97124*100*{}**4"

# Each with what is paid of 100 and where the rest went; CLP02 says 1, so only this can decide.
DECISIONS = [
    ("paid in full", "100", (), "approved"),
    ("the contract's write-off", "60", ("CO*45*40",), "approved"),
    ("all of it is deductible", "0", ("PR*1*100",), "approved"),
    ("all of it is coinsurance", "0", ("PR*2*100",), "approved"),
    ("all of it is copay", "0", ("PR*3*100",), "approved"),
    ("all of it is written off", "0", ("CO*45*100",), "approved"),
    ("the first payer left nothing", "0", ("OA*23*100",), "approved"),
    ("the first payer left nothing, in another group", "0", ("CO*23*100",), "approved"),
    ("reduced, written off and the patient's", "0", ("CO*45*30*1*59*20", "PR*3*50"), "approved"),
    ("no authorization", "0", ("CO*197*100",), "denied"),
    ("not covered, and the patient pays", "0", ("PR*96*100",), "denied"),
    ("not covered, and the clinic writes it off", "0", ("CO*96*100",), "denied"),
    ("written off but for a denial", "0", ("CO*45*99.99*1*29*0.01",), "denied"),
    ("the second payer refuses what the first one left", "0", ("OA*23*80", "PR*204*20"), "denied"),
    ("a reason of denial that carries no money", "0", ("CO*45*100*1*16*0",), "approved"),
    ("a reason of denial that gives money back", "0", ("CO*45*120*1*16*-20",), "approved"),
    ("a reason that no list has", "0", ("CO*ZZ9*100",), "denied"),
    ("some of it denied, some paid", "60", ("CO*197*40",), "approved"),
    ("waiting for review", "0", ("OA*133*100",), "pended"),
    ("some of it waits, some is denied", "0", ("OA*133*50", "CO*16*50"), "pended"),
    ("some of it waits, some is paid", "60", ("OA*133*40",), "approved"),
]


@pytest.mark.parametrize(("paid", "cas", "expected"), [row[1:] for row in DECISIONS], ids=[row[0] for row in DECISIONS])
@pytest.mark.parametrize("level", ["claim", "line"])
def test_money_and_reasons_decide(paid: str, cas: tuple[str, ...], expected: str, level: str) -> None:
    """Whether a processed claim is approved, denied or pended follows from what is paid and why the rest is not."""
    why = [f"CAS*{each}" for each in cas]
    body = (LINE.format(paid), *why) if level == "line" else tuple(why)
    [response] = data(remitted(decided(f"A1*1*100*{paid}", *body), total=paid))
    assert response["response"] == expected


@pytest.mark.parametrize(
    ("status", "responses", "rank"),
    [
        ("1", ["approved"], 1),
        ("2", ["approved"], 2),
        ("3", ["approved"], 3),
        ("19", ["approved", "forwarded"], 1),
        ("20", ["approved", "forwarded"], 2),
        ("21", ["approved", "forwarded"], 3),
    ],
)
def test_the_claim_status_tells_the_payers_rank(status: str, responses: list[str], rank: int | None) -> None:
    """A status names the payer's place in line, or none and the event says none; 19 to 21 are passed on as well."""
    found = data(remitted(decided(f"A1*{status}*100*80", "CAS*CO*45*20")))
    assert [response["response"] for response in found] == responses
    assert [response.get("payer_rank") for response in found] == [rank] * len(responses)


def test_a_claim_that_is_only_passed_on_carries_no_money() -> None:
    """Status 23 says where a claim went: a charge or a payment beside it is nobody's decision."""
    [response] = data(remitted(decided("A1*23*100*0**12*ICN1", "CAS*OA*B11*100"), total="0"))
    assert response == {
        "response": "forwarded",
        "sender": "payer",
        "payer_id": "87726",
        "payer_claim_number": "ICN1",
        "trace": "EFT1",
    }


@pytest.mark.parametrize(
    ("status", "unpaid"),
    [("4", "denied"), ("23", "forwarded"), *((status, "pended") for status in ("5", "10", "13", "15", "16", "17"))],
)
def test_what_is_paid_against_its_status_is_approved_and_told(status: str, unpaid: str) -> None:
    """A claim that is said to be denied, passed on or pended is, and names no rank; where money was paid all the same
    it is approved, because the money is real, and the contradiction is a finding.
    """
    [response] = data(remitted(decided(f"A1*{status}*100*0", "CAS*CO*45*100"), total="0"))
    assert (response["response"], "payer_rank" in response) == (unpaid, False)
    found = remitted(decided(f"A1*{status}*100*80", "CAS*CO*45*20"))
    assert [(each["response"], each["paid"], "payer_rank" in each) for each in data(found)] == [
        ("approved", "80.00", False)
    ]
    assert findings(found) == ["paid_against_status"]


def test_a_denied_claim_without_money_is_denied_whatever_its_reasons() -> None:
    """Status 4 is the payer's word for a denial, even where the only reason is a write-off."""
    assert data(remitted(decided("A1*4*100*0", "CAS*CO*45*100"), total="0"))[0]["response"] == "denied"


def test_a_price_without_a_decision_is_told_and_not_published() -> None:
    """Status 25 prices a claim and decides nothing."""
    found = remitted(decided("A1*25*100*0", "CAS*OA*101*100"), total="0")
    assert events(found) == []
    [unpublished] = of(Unpublished, found)
    assert (unpublished.claim_id, unpublished.said, unpublished.number) == ("A1", "CLP02 25", 10)


@pytest.mark.parametrize("status", ["0", "6", "24", "26", "01", "PAID"])
def test_an_unknown_claim_status_is_refused(status: str) -> None:
    """A claim whose status no list has is refused by segment, element and rule, and its neighbours are read."""
    found = remitted(
        decided(f"A1*{status}*100*80", "CAS*CO*45*20"), decided("A2*1*100*80", "CAS*CO*45*20"), total="160"
    )
    assert [event["subject"] for event in events(found)] == ["A2"]
    assert refusals(found) == [
        (10, "CLP02: the claim status is one of 1 to 5, 10, 13, 15 to 17, 19 to 23 and 25"),
    ]


def test_a_reversal_takes_back_what_was_paid() -> None:
    """Status 22 carries negated amounts; with the correction behind it the payments add up to what is left."""
    found = remitted(
        decided("A1*22*-100*-80*-20*12*ICN1", "CAS*PR*2*-20", "SVC*HC:97124*-100*-80", "CAS*PR*2*-20"),
        decided("A1*1*100*60*0*12*ICN1", "SVC*HC:97124*100*60", "CAS*CO*45*40"),
        total="-20",
    )
    back, again = data(found)
    assert (back["response"], again["response"]) == ("reversed", "approved")
    assert (back["charge"], back["paid"], back["allowed"]) == ("-100.00", "-80.00", "-120.00")
    assert back["patient_responsibility"] == "-20.00"
    [line] = back["lines"]
    assert (line["charge"], line["allowed"], line["paid"]) == ("-100.00", "-100.00", "-80.00")
    assert again["paid"] == "60.00"
    assert events(found)[0]["id"] != events(found)[1]["id"]


def test_a_reversal_keeps_no_positive_share_of_the_patient() -> None:
    """What some payers write without its sign is left out; the adjustments tell what is taken back."""
    [back] = data(remitted(decided("A1*22*-100*-80*20", "CAS*PR*2*-20"), total="-80"))
    assert "patient_responsibility" not in back
    assert back["adjustments"] == [{"group": "PR", "reason": "2", "amount": "-20.00"}]


def test_a_reversal_takes_back_what_was_allowed_however_it_is_signed() -> None:
    """What was allowed is taken back too, though some payers write it without its sign."""
    for allowed in ("95", "-95"):
        [back] = data(remitted(decided("A1*22*-100*-80", "SVC*HC:97124*-100*-80", f"AMT*B6*{allowed}"), total="-80"))
        assert (back["allowed"], back["lines"][0]["allowed"]) == ("-95.00", "-95.00")


@pytest.mark.parametrize("lacking", ["BPR", "TRN", "DTM"])
def test_a_payment_that_lacks_what_names_its_facts_publishes_none(lacking: str) -> None:
    """Without payment, trace or day nothing of an 835 is published: mended, its claims would count a second time."""
    claims = [decided(f"A{number}*1*100*80", "CAS*CO*45*20") for number in (1, 2)]
    whole = remittance(*claims, total="160", paid_on="")
    found = read(file(*interchange(tuple(each for each in whole if not each.startswith(lacking)))))
    assert (events(found), of(Remittance, found)) == ([], [])
    [(_, rule)] = refusals(found)
    assert rule.startswith(lacking)
    assert rule.endswith(": no claim of this 835 is published")


def test_a_reversal_that_pays_is_refused() -> None:
    """Money without its sign on a reversal would be counted twice instead of taken back."""
    found = remitted(decided("A1*22*100*80", "CAS*CO*45*20"))
    assert events(found) == []
    assert [rule for _, rule in refusals(found)] == [
        "$.data.paid: a reversal carries the negated amounts: none above zero"
    ]


def test_equal_facts_of_one_remittance_are_told_apart() -> None:
    """What a remittance states twice happened twice; reading the file again tells nothing new."""
    twin = decided("A1*1*100*80**12*ICN1", "CAS*CO*45*20")
    found = remitted(twin, twin, decided("A2*1*100*80", "CAS*CO*45*20"), twin, total="320")
    ids = [event["id"] for event in events(found) if event["subject"] == "A1"]
    assert ids == [ids[0], f"{ids[0]}-2", f"{ids[0]}-3"]
    again = remitted(twin, twin, decided("A2*1*100*80", "CAS*CO*45*20"), twin, total="320")
    assert [event["id"] for event in events(again)] == [event["id"] for event in events(found)]


def test_the_same_remittance_in_other_words_is_the_same() -> None:
    """Control numbers, day of the envelope, separators, line ends and the spelling of amounts are no part of a fact."""
    plain = remittance(decided("A1*1*100*80*5*12*ICN1", "SVC*HC:97124:59*100*80**4", "CAS*CO*45*15", "CAS*PR*3*5"))
    spelled = remittance(
        decided("A1*1*100.00*080.0*5.*12*ICN1", "SVC*HC:97124:59*100.*80.00**4.0", "CAS*PR*3*5.00", "CAS*CO*45*15.0*4"),
        total="80.00",
        control="9999",
    )
    first = read(file(*interchange(plain)))
    again = read(
        file(
            *interchange(spelled, group="77", control="000000099", day="20260701", clock="180059"),
            element="|",
            component="^",
            terminator="'",
            after="\r\n",
        )
    )
    assert [event["id"] for event in events(first)] == [event["id"] for event in events(again)]
    assert [event["time"] for event in events(first)] == [event["time"] for event in events(again)]


@pytest.mark.parametrize(
    "other",
    [
        {"trace": "EFT2"},
        {"clp": "A1*1*100*80**12*ICN2"},
        {"clp": "A1*2*100*80**12*ICN1"},
        {"clp": "A1*1*101*81**12*ICN1"},
        {"cas": "CAS*PR*2*20"},
        {"cas": "CAS*CO*45*19*1*59*1"},
    ],
    ids=["trace", "payer's number", "rank", "money", "group", "reasons"],
)
def test_another_decision_is_another_fact(other: dict[str, str]) -> None:
    """Payment, the payer's number, status, money and reasons name a decision."""
    told = {"clp": "A1*1*100*80**12*ICN1", "cas": "CAS*CO*45*20", "trace": "EFT1", "decided": "20260601"}
    ids: set[str] = set()
    for each in (told, told | other):
        text = remittance(decided(each["clp"], each["cas"]), trace=each["trace"], decided=each["decided"])
        ids.update(event["id"] for event in events(read(file(*interchange(text)))))
    assert len(ids) == 2


def test_money_that_moved_has_its_day_and_a_notice_has_none() -> None:
    """The day of a transfer is told of what it paid; a notice without payment moved nothing, and so did a denial."""
    claims = decided("A1*1*100*80", "CAS*CO*45*20"), decided("A2*1*100*0", "CAS*CO*29*100")
    approved, denied = data(remitted(*claims))
    assert (approved["decided_on"], approved["paid_on"]) == ("2026-06-01", "2026-06-03")
    assert (denied["decided_on"], "paid_on" in denied) == ("2026-06-01", False)
    notice = data(read(file(*interchange(remittance(*claims, method="NON")))))
    assert ["paid_on" in response for response in notice] == [False, False]


def test_the_day_of_a_decision_is_the_first_that_is_told() -> None:
    """The production date decides, else the day of the payment, else that of the envelope; what is no date is told."""
    claim = decided("A1*1*100*80", "CAS*CO*45*20")
    days = {
        day["decided_on"]
        for produced, paid_on in (("20260601", "20260603"), ("", "20260601"), ("", ""))
        for day in data(read(file(*interchange(remittance(claim, decided=produced, paid_on=paid_on), day="20260601"))))
    }
    assert days == {"2026-06-01"}
    strange = read(file(*interchange(remittance(claim, decided="20261301"))))
    assert ([day["decided_on"] for day in data(strange)], findings(strange)) == (["2026-06-03"], ["bad_date"])
