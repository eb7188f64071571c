"""Files that nobody here wrote, read as other people's parsers read them: the sample files of X12 and what is in them.

What is expected comes from `truth*.json`, which three other parsers made, and from the tables here, which people made.
"""

import json
import re
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from services.intake.facts import Remittance, Unpublished
from services.intake.files import Item, Publishable
from tests.x12_files import data, events, findings, of, read, refusals

FILES = Path(__file__).resolve().parents[3] / "shared" / "x12"
pytestmark = pytest.mark.skipif(
    not FILES.exists(), reason="the sample files are not here: they are no part of the project"
)


def truth(name: str) -> dict[str, Any]:
    """What other parsers read, by file."""
    found: dict[str, Any] = json.loads((FILES / name).read_text("utf-8")) if FILES.exists() else {}
    return found


REMITTANCES, SUBMISSIONS, STATUSES = truth("truth.json"), truth("truth_837.json"), truth("truth_277.json")

NO_BHT = "BHT: required in an 837"
NO_BPR = "BPR: required in an 835"
# Files that are, in whole or in part, no answer and no claim: where, which rule, and why that is right.
REFUSED = {
    # ISA06 and ISA08 are too short, so ISA is no ISA; none of the three parsers reads the file.
    "genformai__edi-cli/simple-835.edi": [
        (1, "ISA has 16 elements at fixed places, 106 bytes in all, and separators that differ"),
    ],
    # STC01 is "1" and the category stands in STC02, where a date belongs: nobody can say which status is meant.
    "genformai__edi-cli/sample-277.edi": [
        (15, "STC01: the category (component 1) is one of X12's list 507: A, P, F, R, E or D"),
    ],
    # Neither TRN nor REF*EJ stands above the status; REF*D9 and REF*1K are the payer's own numbers.
    "aurelianware__hipaa-attachments/test-x12-277-healthplan-to-availity.edi": [
        (10, "STC01: no claim: neither REF*EJ nor TRN02 names one"),
    ],
    # A void (95::8) that does not say which claim of the payer's it takes back.
    "azoner__pyx12/x12testdata_elements.txt": [(25, "$.data.payer_claim_number: required on kind void")],
    # Transaction sets with nothing in them.
    "azoner__pyx12/x12testdata_837miss.txt": [(3, NO_BHT)],
    "azoner__pyx12/x12testdata_fail_no_IEA.txt": [(3, NO_BHT)],
    "azoner__pyx12/x12testdata_simple1.txt": [(3, NO_BHT)],
    "azoner__pyx12/x12testdata_mult_isa.txt": [(19, NO_BPR), (23, NO_BPR), (27, NO_BPR), (49, NO_BPR)],
    "azoner__pyx12/x12testdata_multiple_trn.txt": [(19, NO_BPR)],
}
# Claims that were processed (1 to 3) and are paid nothing: what the reasons make of each, by its place in the file.
ZERO_PAID = {
    # CO-29, filed too late, on every line.
    ("keironstoddart__edi-835-parser/emedny_sample.txt", 1): "denied",
}
# Claims whose REF*F8 all stand with other payers (2330): what those call it is not what this payer is asked to replace.
OF_OTHER_PAYERS = {
    ("azoner__pyx12/x12testdata_loop_counting.txt", 0),
    ("azoner__pyx12/x12testdata_simple_837p.txt", 0),
    ("azoner__pyx12/x12testdata_trailer_errors.txt", 0),
    ("azoner__pyx12/x12testdata_trailer_errors.txt", 1),
}
KINDS = {"1": "original", "7": "replacement", "8": "void"}
# The claim of each STC, in order. X12 005010X212 names it in REF*EJ; what the truth calls `trace` is TRN02, which there
# is the number of the inquiry and of no claim. Where there is no REF*EJ the trace stands in for it; an STC above the
# claims speaks of none.
CLAIM_OF_STATUS = {
    "LinuxForHealth__x12/demo.277": ["SM123456", "J0234567", "MA345678", "MA345678"],
    "LinuxForHealth__x12/claim-level-status-ncpdp.277": ["ABCXYZ1"],
    "LinuxForHealth__x12/information-receiver-level-status.277": [""],
    "LinuxForHealth__x12/provider-level-status.277": ["SM123456", ""],
}
# What a status is to a claim; the others only announce what an 835 decides, or say nothing of a claim.
RESPONSES = {"P3": "pended"}


def test_every_file_is_held_against_a_truth() -> None:
    """No sample file is left out: each has its truth, and each that is refused has its reason here."""
    samples = {name for name in all_files() if not name.endswith(".md")}
    assert samples == {*REMITTANCES, *SUBMISSIONS, *STATUSES}
    assert samples >= set(REFUSED)
    unread = {name for name, told in REMITTANCES.items() if not claims_of(told)} | {
        *(name for name, told in SUBMISSIONS.items() if not told["claims"] and name not in REMITTANCES),
        *(name for name in STATUSES if name not in CLAIM_OF_STATUS),
    }
    assert unread <= set(REFUSED)


@pytest.mark.parametrize("name", sorted({*REMITTANCES, *SUBMISSIONS, *STATUSES}))
def test_a_file_is_refused_where_it_is_wrong_and_nowhere_else(name: str) -> None:
    """What cannot be read is refused at its segment, by its rule; every other file is read without refusal."""
    assert refusals(contents(name)) == REFUSED.get(name, [])


@pytest.mark.parametrize("name", REMITTANCES)
def test_a_remittance_holds_the_claims_that_others_read(name: str) -> None:
    """Claims of an 835 come in order, with status, amounts, adjustments and lines as every other parser read them."""
    told = claims_of(REMITTANCES[name])
    published = [event for event in events(contents(name)) if event["source"] == "/x12/835"]
    assert [event["subject"] for event in published] == [claim["clp01"] for claim in told]
    for place, (event, claim) in enumerate(zip(published, told, strict=True)):
        response = event["data"]
        assert (response["response"], response.get("payer_rank")) == decision(name, place, claim)
        assert money(response["charge"]) == money(claim["charge"])
        assert money(response["paid"]) == money(claim["paid"])
        if "lines" not in claim:  # of this file only what a claim says itself was read by others
            continue
        assert money(response.get("patient_responsibility")) == money(claim["patient_resp"])
        assert response.get("payer_claim_number", "") == claim["payer_control_number"]
        assert adjustments(response) == expected_adjustments(claim)
        assert lines(response) == expected_lines(claim)


@pytest.mark.parametrize("name", REMITTANCES)
def test_a_remittance_adds_up_where_others_say_so(name: str) -> None:
    """Payment, trace, adjustments of the provider and whether payment, claims and lines balance are as others found."""
    transactions = [each for each in REMITTANCES[name].get("transactions", []) if each["bpr"]]
    payments = of(Remittance, contents(name))
    if "transactions" in REMITTANCES[name]:
        assert len(payments) == len(transactions)
    of_claims = iter(of(Publishable, contents(name)))
    for payment, told in zip(payments, transactions, strict=False):
        balance = told["balance"]
        assert payment.trace == told["trn"][0]["trace"]
        assert payment.method == told["bpr"]["method"]
        assert payment.claims == len(told["claims"])
        assert Decimal(payment.total) == money(balance["bpr02"])
        assert Decimal(payment.claims_paid) == money(balance["sum_clp04"])
        assert [(each.reason, each.reference, Decimal(each.amount)) for each in payment.provider_adjustments] == [
            (*f"{each['adjustment_id']}:".split(":")[:2], money(each["amount"])) for each in told["plb"]
        ]
        assert payment.balanced == balance["transaction_balances"]
        found = [next(of_claims).findings for _ in told["claims"]]
        assert [place for place, each in enumerate(found) if "claim_balance" in each] == balance[
            "claims_out_of_balance"
        ]
        assert [place for place, each in enumerate(found) if "line_balance" in each] == sorted(
            {place for place, _ in balance["lines_out_of_balance"]}
        )
        for event in data(contents(name)):
            assert event["trace"] == told["trn"][0]["trace"]
    unbalanced = [each for each in transactions if not each["balance"]["transaction_balances"]]
    assert findings(contents(name)).count("remittance_balance") == len(unbalanced)


def test_the_remittance_that_only_one_parser_read() -> None:
    """A bare 835 is read as people read it: two lines that balance, and one whose amounts stand where none belong."""
    [response] = data(contents("keironstoddart__edi-835-parser/blue_cross_nc_sample.txt"))
    assert adjustments(response) == [
        (0, "CO", "42", money("34.6")),
        (0, "PR", "2", money("117.54")),
        (1, "PR", "3", money("25")),
    ]
    assert lines(response) == [
        ("59430", money("1210"), money("1057.86"), 1),
        ("59440", money("890"), money("865"), 1),
        ("59426", None, None, None),
    ]
    assert findings(contents("keironstoddart__edi-835-parser/blue_cross_nc_sample.txt")) == [
        *("line_balance", "no_interchange", "retired_reason", "wrong_count"),
    ]


@pytest.mark.parametrize("name", SUBMISSIONS)
def test_a_submission_holds_the_claims_that_others_read(name: str) -> None:
    """Claims of an 837 come in order, with kind, charge, lines and the number of the claim that they replace."""
    published = [event for event in events(contents(name)) if event["source"] == "/x12/837"]
    # Its only claim is refused: see REFUSED.
    refused = 1 if name == "azoner__pyx12/x12testdata_elements.txt" else 0
    told = SUBMISSIONS[name]["claims"][refused:]
    assert [event["subject"] for event in published] == [claim["clm01"] for claim in told]
    assert sum(money(event["data"]["total_charge"]) or 0 for event in published) == sum(
        money(claim["charge"]) or 0 for claim in told
    )
    found = [item.findings for item in of(Publishable, contents(name))] if published else []
    for place, (event, claim) in enumerate(zip(published, told, strict=True)):
        submission = event["data"]
        frequency = [*re.split("[:>]", claim["clm05"]), "", ""][2]
        assert submission["kind"] == KINDS.get(frequency, "original")
        assert ("no_frequency" in found[place]) == (not frequency)
        assert money(submission["total_charge"]) == money(claim["charge"])
        charges = [money(line["charge"]) or 0 for line in submission.get("lines", [])]
        assert (len(charges), sum(charges)) == (claim["lines"], money(claim["line_total"]))
        assert ("line_total" in found[place]) == (money(claim["charge"]) != money(claim["line_total"]))
        replaces = [value for qualifier, value in claim["ref"] if qualifier == "F8"][:1]
        expected = [] if (name, place) in OF_OTHER_PAYERS else replaces
        assert [submission[key] for key in ("payer_claim_number",) if key in submission] == expected


@pytest.mark.parametrize("name", CLAIM_OF_STATUS)
def test_every_status_is_told_on_its_claim(name: str) -> None:
    """Each STC of a 277 is a status of a published event, or told as what no event says, on the claim that it is of."""
    found = contents(name)
    published = {(event["subject"], event["data"]["response"]): event["data"]["statuses"] for event in events(found)}
    unpublished = {(each.claim_id, each.said) for each in of(Unpublished, found)}
    expected: dict[str, set[object]] = {"published": set(), "unpublished": set()}
    for claim_id, stc in zip(CLAIM_OF_STATUS[name], STATUSES[name]["stc"], strict=True):
        category, code, *entity = stc["stc01"].split(":")
        if category in RESPONSES:
            expected["published"].add((claim_id, RESPONSES[category]))
            status = {"category": category, "code": code} | ({"entity": entity[0]} if entity else {})
            assert status in published[claim_id, RESPONSES[category]]
        else:
            expected["unpublished"].add((claim_id, f"277 {category}:{code}"))
    assert published.keys() == expected["published"]
    assert unpublished == expected["unpublished"]


def decision(name: str, place: int, claim: dict[str, Any]) -> tuple[str, int | None]:
    """What the payer did of a claim, and as which payer, from its status and money alone."""
    status = claim["status"]
    if status in ("22", "4"):
        return {"22": "reversed", "4": "denied"}[status], None
    assert status in ("1", "2", "3")
    return ("approved" if Decimal(claim["paid"]) > 0 else ZERO_PAID[name, place]), int(status)


def adjustments(response: dict[str, Any]) -> list[tuple[int | None, str, str, Decimal | None]]:
    """The adjustments of an event, each with the place of its line."""
    places = {line["line"]: place for place, line in enumerate(response.get("lines", []))}
    assert len(places) == len(response.get("lines", []))
    return [
        (places[each["line"]] if "line" in each else None, each["group"], each["reason"], money(each["amount"]))
        for each in response.get("adjustments", [])
    ]


def expected_adjustments(claim: dict[str, Any]) -> list[tuple[int | None, str, str, Decimal | None]]:
    """The adjustments that others read, the claim's own first."""
    where = [(None, claim["claim_cas"]), *((place, line["cas"]) for place, line in enumerate(claim["lines"]))]
    return [(place, group, reason, money(amount)) for place, cas in where for group, reason, amount, *_ in cas]


def lines(response: dict[str, Any]) -> list[tuple[str, Decimal | None, Decimal | None, int | None]]:
    """The lines of an event: procedure, charge, paid and units."""
    return [
        (line["code"], money(line.get("charge")), money(line.get("paid")), line.get("units"))
        for line in response.get("lines", [])
    ]


def expected_lines(claim: dict[str, Any]) -> list[tuple[str, Decimal | None, Decimal | None, int | None]]:
    """The lines that others read; a procedure without a code is told as unknown."""
    return [
        (
            [*re.split("[:>]", line["procedure"]), "unknown"][1],
            money(line["charge"]),
            money(line["paid"]),
            int(Decimal(line["units_paid"])) if line["units_paid"] else None,
        )
        for line in claim["lines"]
    ]


def money(text: str | None) -> Decimal | None:
    """Cents of an amount as it is written; None where there is none."""
    return Decimal(text) * 100 if text else None


def claims_of(told: dict[str, Any]) -> list[dict[str, Any]]:
    """The claims of a remittance that any other parser read."""
    by_one = told.get("edi_835_parser_claims", [])
    return by_one or [claim for each in told.get("transactions", []) for claim in each["claims"]]


@cache
def all_files() -> list[str]:
    """Every file of the samples but licences and truths, by folder and name."""
    found = sorted(path for path in FILES.rglob("*") if path.is_file())
    names = [path.relative_to(FILES).as_posix() for path in found]
    return [name for name in names if "UPSTREAM-LICENSE" not in name and not name.startswith("truth")]


@cache
def contents(name: str) -> list[Item]:
    """What a sample file holds."""
    return read((FILES / name).read_bytes())
