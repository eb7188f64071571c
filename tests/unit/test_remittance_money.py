"""What an 835 says of money, and whether it adds up: in a line, in a claim and in the payment."""

import pytest

from services.intake.facts import ProviderAdjustment, Remark, Remittance
from tests.x12_files import data, decided, events, file, findings, interchange, of, read, refusals, remittance, remitted


@pytest.mark.parametrize(
    ("segments", "allowed"),
    [
        (("CAS*CO*45*20",), "80.00"),
        (("CAS*CO*45*5", "CAS*PR*1*3*1*2*4*1*3*8"), "95.00"),
        (("CAS*PR*96*20",), "80.00"),
        (("CAS*OA*1*20",), "80.00"),
        (("SVC*HC:97124*100*80", "CAS*PR*3*15", "CAS*CO*45*5", "AMT*B6*95"), "95.00"),
        (("SVC*HC:97124*60*50", "CAS*CO*45*10", "AMT*B6*55", "SVC*HC:97140*40*30", "CAS*PR*2*10"), "95.00"),
        (("AMT*B6*90", "CAS*CO*45*20"), "90.00"),
        (("SVC*HC:97124*100*80", "CAS*CO*45*20", "AMT*AU*77"), "80.00"),
    ],
    ids=[
        *("paid", "paid and all three shares", "a refusal is no share", "a share only in group PR", "told of the line"),
        *("told of one line of two", "told of the claim", "another amount"),
    ],
)
def test_what_is_allowed_is_told_or_paid_with_the_patients_share(segments: tuple[str, ...], allowed: str) -> None:
    """AMT*B6 says what is allowed; where it is absent it is what is paid and PR-1, PR-2 and PR-3."""
    assert data(remitted(decided("A1*1*100*80", *segments)))[0]["allowed"] == allowed


def test_an_unknown_reason_is_kept_and_named() -> None:
    """A code that the list does not have is published as it stands, and named once for its claim."""
    found = remitted(decided("A1*1*100*80", "CAS*CO*ZZ9*10*1*45*5", "CAS*OA*ZZ9*5"))
    assert [each["reason"] for each in data(found)[0]["adjustments"]] == ["ZZ9", "45", "ZZ9"]
    assert [(each.finding, each.detail) for each in of(Remark, found)] == [("unknown_reason", "ZZ9")]


def test_every_adjustment_of_a_segment_is_kept_in_order() -> None:
    """Up to six reasons of one CAS are told with group, amount and line, the claim's own before its lines'."""
    six = "*".join(f"{code}*{amount}*1" for code, amount in (("45", 1), ("59", 2), ("253", 3)))
    found = remitted(
        decided(
            *("A1*1*100*79", f"CAS*CO*{six}*131*4*1*186*5*1*45*6", "SVC*HC:97124*50*50"),
            *("SVC*HC:97140*50*50", "CAS*PR*3*-1", "REF*6R*SECOND"),
        ),
        total="79",
    )
    told = [(each["group"], each["reason"], each["amount"], each.get("line")) for each in data(found)[0]["adjustments"]]
    assert told == [
        *(("CO", "45", "1.00", None), ("CO", "59", "2.00", None), ("CO", "253", "3.00", None)),
        *(("CO", "131", "4.00", None), ("CO", "186", "5.00", None), ("CO", "45", "6.00", None)),
        ("PR", "3", "-1.00", "SECOND"),
    ]


def test_money_that_comes_back_to_no_claim_is_told_with_the_payment() -> None:
    """PLB lowers the payment, or raises it where negative; a reference that names a claim is tied to it."""
    [paid] = of(
        Remittance,
        remitted(
            decided("A1*1*100*80**12*ICN1", "CAS*CO*45*20"),
            decided("A2*1*100*80**12*ICN2", "CAS*CO*45*20"),
            plb=("PLB*1234567893*20261231*WO:A1*30*FB*-5*L6:ICN2*-1.25", "PLB*1234567893*20261231*72:ELSEWHERE*6.25"),
            total="130",
        ),
    )
    assert paid.provider_adjustments == [
        ProviderAdjustment(reason="WO", reference="A1", amount=3000, claim_id="A1"),
        ProviderAdjustment(reason="FB", reference="", amount=-500, claim_id=None),
        ProviderAdjustment(reason="L6", reference="ICN2", amount=-125, claim_id="A2"),
        ProviderAdjustment(reason="72", reference="ELSEWHERE", amount=625, claim_id=None),
    ]
    assert (paid.total, paid.claims, paid.claims_paid, paid.balanced) == (13000, 2, 16000, True)


def test_a_number_of_two_claims_names_the_first() -> None:
    """Where payers give one number to several claims, money under that number is tied to the first of them."""
    claims = decided("A1*1*100*80**12*ICN1", "CAS*CO*45*20"), decided("A2*1*100*80**12*ICN1", "CAS*CO*45*20")
    [paid] = of(Remittance, remitted(*claims, plb=("PLB*1234567893*20261231*WO:ICN1*30*WO:A2*1",), total="129"))
    assert [each.claim_id for each in paid.provider_adjustments] == ["A1", "A2"]
    assert paid.balanced


@pytest.mark.parametrize(
    ("total", "claim", "expected"),
    [
        ("80", ("A1*1*100*80", "SVC*HC:97124*100*80", "CAS*CO*45*20"), []),
        ("80", ("A1*1*100*80*20", "CAS*PR*2*20"), []),
        ("70", ("A1*1*100*70", "CAS*CO*45*10", "SVC*HC:97124*100*80", "CAS*CO*45*20"), []),
        ("80", ("A1*1*100*80", "SVC*HC:97124*100*80"), ["claim_balance", "line_balance"]),
        ("80", ("A1*1*100*80", "CAS*CO*45*20", "SVC*HC:97124*100*80"), ["line_balance"]),
        ("70", ("A1*1*100*70", "SVC*HC:97124*100*80", "CAS*CO*45*20"), ["claim_balance"]),
        ("80", ("A1*1*100*80*25", "CAS*PR*2*20"), ["patient_balance"]),
        ("80.01", ("A1*1*100*80", "CAS*CO*45*20"), ["remittance_balance"]),
        ("-80", ("A1*1*100*80", "CAS*CO*45*20"), ["remittance_balance"]),
    ],
)
def test_balance_is_held_at_three_levels(total: str, claim: tuple[str, ...], expected: list[str]) -> None:
    """A line, a claim and a payment that do not add up are findings; the claim is published as it stands."""
    clp, *rest = claim
    found = remitted(decided(clp, *rest), total=total)
    assert findings(found) == expected
    [response] = data(found)
    assert response["paid"] == f"{clp.split('*')[3]}.00"
    assert [paid.balanced for paid in of(Remittance, found)] == ["remittance_balance" not in expected]


def test_a_payment_is_not_balanced_by_a_claim_that_could_not_be_read() -> None:
    """Where a claim is missing nobody knows what the claims add up to, even if the rest does."""
    found = remitted(decided("A1*1*100*80", "CAS*CO*45*20"), decided("A2*1*100*0", "CAS*CO*45*much"))
    assert findings(found) == ["remittance_balance"]
    assert [paid.balanced for paid in of(Remittance, found)] == [False]


def test_money_taken_from_the_clinics_account_counts_below_zero() -> None:
    """BPR03 D says that the payer collects: reversals alone balance against it."""
    back = remittance(decided("A1*22*-100*-80", "CAS*CO*45*-20"), total="80")
    found = read(file(*(segment.replace("*80*C*ACH", "*80*D*ACH") for segment in interchange(back))))
    [paid] = of(Remittance, found)
    assert (paid.total, paid.claims_paid, paid.balanced, findings(found)) == (-8000, -8000, True, [])


@pytest.mark.parametrize(
    ("segment", "rule"),
    [
        ("CAS*XX*45*20", "CAS01: the group is one of CO, CR, OA, PI, PR"),
        ("CAS*CO**20", "CAS02: required"),
        ("CAS*CO*45", "CAS03: required"),
        ("CAS*CO*45*2O", "CAS03: money is digits, with a minus before and a point within where needed"),
        ("CAS*CO*45*2E1", "CAS03: money is digits, with a minus before and a point within where needed"),
        ("CAS*CO*45*20*1*59*+1", "CAS06: money is digits, with a minus before and a point within where needed"),
        ("SVC*HC:97124*100*80.005", "SVC03: money has at most ten digits before and two after the point"),
        ("SVC*HC:97124*10000000000*80", "SVC02: money has at most ten digits before and two after the point"),
        ("AMT*B6*-", "AMT02: money is digits, with a minus before and a point within where needed"),
    ],
)
def test_a_claim_with_a_broken_amount_is_refused_alone(segment: str, rule: str) -> None:
    """Half of a decision would be a wrong one: the claim is refused, by segment, element and rule, and no other."""
    fine = decided("A2*1*100*80", "CAS*CO*45*20")
    found = remitted(fine, decided("A1*1*100*80", segment), fine, total="240")
    assert [event["subject"] for event in events(found)] == ["A2", "A2"]
    assert refusals(found) == [(13, rule)]


def test_an_event_says_what_the_claim_says() -> None:
    """Numbers, days, remark codes and lines of a claim are told in the contract's words, and nothing else is."""
    lines = (
        *("SVC*HC:97124:59*60*50**4", "DTM*472*20260501", "CAS*CO*45*10", "REF*6R*L1", "AMT*B6*50", "LQ*HE*N362"),
        *("SVC*HC>97140*40*30**1.5", "CAS*PR*2*10", "REF*6R*LONGER-THAN-SIXTEEN", "LQ*HE*N362", "LQ*RX*75"),
    )
    found = remitted(
        decided(
            *("A1*1*100*80*10*12*ICN1*11*1", "NM1*QC*1*DOE*JANE****MI*MEM0001", "MOA***MA01**MA18"),
            *("REF*EA*CHART", "DTM*050*20260510", *lines),
        )
    )
    assert data(found) == [
        {
            "response": "approved",
            "sender": "payer",
            "payer_id": "87726",
            "payer_rank": 1,
            "payer_claim_number": "ICN1",
            "trace": "EFT1",
            "remarks": ["MA01", "MA18", "N362"],
            "received_on": "2026-05-10",
            "decided_on": "2026-06-01",
            "paid_on": "2026-06-03",
            "charge": "100.00",
            "allowed": "90.00",
            "paid": "80.00",
            "patient_responsibility": "10.00",
            "adjustments": [
                {"group": "CO", "reason": "45", "amount": "10.00", "line": "L1"},
                {"group": "PR", "reason": "2", "amount": "10.00", "line": "2"},
            ],
            "lines": [
                {"line": "L1", "code": "97124", "charge": "60.00", "allowed": "50.00", "paid": "50.00", "units": 4},
                {"line": "2", "code": "97140", "charge": "40.00", "allowed": "40.00", "paid": "30.00"},
            ],
        }
    ]
    assert findings(found) == ["component_separator"]


@pytest.mark.parametrize(
    ("payer", "payer_id"),
    [
        (("N1*PR*PLAN*XV*87726", "REF*2U*12345"), "87726"),
        (("N1*PR*PLAN", "REF*2U*12345"), "12345"),
        (("N1*PR*PLAN",), "1512345678"),
        (("N1*PR*PLAN", "N1*PE*CLINIC*XX*1234567893", "REF*2U*99999"), "1512345678"),
    ],
)
def test_the_payer_goes_by_its_own_number(payer: tuple[str, ...], payer_id: str) -> None:
    """A payer is named by N104, else by its own number, else by that of its bank transfers; never by the payee's."""
    whole = remittance(decided("A1*1*100*80", "CAS*CO*45*20"))
    text = [part for each in whole for part in (payer if each.startswith("N1*PR") else (each,))]
    assert data(read(file(*interchange(text))))[0]["payer_id"] == payer_id
