"""What a file says of a claim, and the CloudEvent it becomes: its identity comes from the fact alone.

The identity holds what names the fact (payer, trace, claim, the payer's number, status) and its content in a normal
form, so that the same remittance in two files, or read twice, is one event. It is written out by each reader rather
than taken from the event's data: a release that reads more out of a file must not give old facts new names.
"""

import hmac
import re
from collections.abc import Sequence
from hashlib import blake2b, sha256
from typing import Any, Final, Literal

import msgspec
from msgspec import Struct

from events.codec import money
from events.topics import CLAIM_SUBMITTED, PAYER_RESPONSE
from services.intake.envelope import EnvelopeFinding

ContentFinding = Literal[
    "bad_date",
    "bad_remark",
    "claim_balance",
    "component_separator",
    "line_balance",
    "line_below_zero",
    "line_total",
    "no_frequency",
    "no_payer_id",
    "no_payer_rank",
    "no_procedure",
    "paid_against_status",
    "patient_balance",
    "remittance_balance",
    "retired_reason",
    "reversal_without_shares",
    "trace_as_claim_id",
    "unknown_reason",
]
Finding = EnvelopeFinding | ContentFinding

# What each finding means, in one line for people; what is found is published all the same.
MEANINGS: Final[dict[Finding, str]] = {
    "bad_date": "a date is none, or of another century: left out",
    "bad_remark": "a remark has not the form of a remark code: left out",
    "claim_balance": "a claim's charge less all adjustments is not what is paid",
    "component_separator": "components are not separated by what ISA16 says: the separator seen is taken",
    "line_balance": "a line's charge less its adjustments is not what is paid for it",
    "line_below_zero": "a line of a claim that is no reversal has amounts below zero: left out, the claim's count",
    "line_total": "the lines' charges together are not the claim's",
    "no_frequency": "CLM05-3 is absent: taken as an original",
    "no_interchange": "no ISA: the separators are those seen, of components a colon",
    "no_payer_id": "no NM1*PR with a number: the receiver is taken as the payer",
    "no_payer_rank": "SBR01 is absent or unknown: taken as primary",
    "no_procedure": "a line has no procedure code: it is called unknown",
    "no_trailer": "SE, GE or IEA is missing",
    "paid_against_status": "CLP02 says denied, pended or forwarded, and money was paid: taken as approved",
    "patient_balance": "CLP05 is not what the PR adjustments add up to",
    "remittance_balance": "the claims' payments less PLB are not BPR02",
    "retired_reason": "an adjustment reason was retired before the day of the decision",
    "reversal_without_shares": "a reversal tells neither AMT*B6 nor the patient's share: what was allowed may stand",
    "test_interchange": "ISA15 says that it is a test: read all the same",
    "trace_as_claim_id": "no REF*EJ: the trace of the inquiry is taken as the claim's id",
    "unknown_reason": "an adjustment reason is not on X12's list 139: counts as a denial where nothing is paid",
    "wrong_control_number": "a trailer's control number is not its header's",
    "wrong_count": "SE01, GE01 or IEA01 is not the number of what it ends",
}

NO_PROCEDURE: Final = "unknown"
"""What stands for the procedure code of a line that has none."""
MAX_LINE_ID: Final = 16
"""What the contract has room for; a line control number (REF*6R) has up to 50."""

# The form of a code of a public list, in which no name, date or number of a patient fits.
_CODE: Final = re.compile(r"[A-Z]{0,2}[0-9]{1,3}[A-Z]?|[A-Z][0-9][A-Z]")
# Longest is a drug's number (NDC), of eleven digits; a status's code is of up to four, an entity's of two or three.
_SHORT_CODE: Final = re.compile(r"[0-9A-Z]{1,11}")
_ID_BYTES: Final = 16
_REF_BYTES: Final = 12
_encode: Final = msgspec.json.Encoder().encode


class Fact(Struct, frozen=True, kw_only=True):
    """One thing that a file says of one claim."""

    number: int
    """The segment where it begins."""
    source: str
    """Which kind of file says it, as /x12/835; never which file."""
    claim_id: str
    identity: Sequence[object]
    """What names the fact, and its content in a normal form: words and cents."""
    time: str
    data: dict[str, Any]
    """The event's data as the contract has it; what is absent is not there."""
    findings: tuple[Finding, ...] = ()
    member: str = ""
    """The patient's number with the payer: leaves this process only as a keyed hash."""


class Remark(Struct, frozen=True, kw_only=True, tag="remark", tag_field="what"):
    """A finding about a claim or a transaction set, where its segment stands."""

    number: int
    finding: Finding
    detail: str = ""
    """A code of a public list, as the reason that is unknown; never a value of a patient's."""


class Unpublished(Struct, frozen=True, kw_only=True, tag="unpublished", tag_field="what"):
    """What the file says and no event says: a status that is only advice, a price without a decision."""

    number: int
    claim_id: str
    said: str
    """The status, as ``277 F2:88`` or ``CLP02 25``."""
    why: str


class ProviderAdjustment(Struct, frozen=True, kw_only=True):
    """An adjustment of the payment and of no claim (PLB); a positive amount lowers the payment, in cents."""

    reason: str
    reference: str
    amount: int
    claim_id: str | None
    """The claim that the reference names, of this remittance or of an earlier one that was read."""


class Remittance(Struct, frozen=True, kw_only=True, tag="remittance", tag_field="what"):
    """An 835 as a payment: what must come together for the money in the bank to be the claims' money; in cents."""

    number: int
    payer_id: str
    trace: str
    method: str
    """BPR04, as ACH, CHK or NON."""
    paid_on: str | None
    total: int
    """BPR02."""
    claims: int
    claims_paid: int
    provider_adjustments: list[ProviderAdjustment]
    balanced: bool
    which_claims: str
    """A digest of the claims' ids and the payer's numbers of them, whatever became of them."""


class Refused(Struct, frozen=True, kw_only=True, tag="refused", tag_field="what"):
    """What could not be read, in one sentence that names segment, element and rule and never a value."""

    number: int
    rule: str

    def __str__(self) -> str:
        """One sentence for people."""
        return f"segment {self.number}: {self.rule}"


Outcome = Fact | Remark | Unpublished | Remittance | Refused


def code_of_list(text: str) -> str:
    """Return a code of a public list; empty where the text has not the form of one, and may be anything."""
    return text if _CODE.fullmatch(text) else ""


def short_code(text: str) -> str:
    """Return a code of digits and capitals, as a procedure or an entity; empty where the text may be anything else."""
    return text if _SHORT_CODE.fullmatch(text) else ""


def line_ids(controls: Sequence[str]) -> list[str]:
    """Return the lines' numbers on their claim: their own where each has one that fits, else their places."""
    fit = all(0 < len(each) <= MAX_LINE_ID for each in controls) and len(set(controls)) == len(controls)
    return list(controls) if fit else [str(place) for place in range(1, len(controls) + 1)]


def amount(cents: int | None) -> str | None:
    """Return cents as the contract writes money; None stays None."""
    return None if cents is None else money(cents)


def fact_key(source: str, claim_id: str, identity: Sequence[object]) -> bytes:
    """Return what is equal for equal facts, wherever and however often they are read."""
    return blake2b(_encode([source, claim_id, *identity]), digest_size=_ID_BYTES).digest()


def event(fact: Fact, key: bytes, ordinal: int, place: str, patient_key: bytes | None) -> bytes:
    """Return the CloudEvent of a fact; `ordinal` tells apart facts that one transaction set states several times.

    Findings, place and patient stand beside the data: they say how it was read, and are no part of what happened.
    """
    told = key.hex() if ordinal == 1 else f"{key.hex()}-{ordinal}"
    attributes: dict[str, Any] = {
        "specversion": "1.0",
        "id": told,
        "source": fact.source,
        "type": CLAIM_SUBMITTED if "kind" in fact.data else PAYER_RESPONSE,
        "subject": fact.claim_id,
        "time": fact.time,
        "datacontenttype": "application/json",
        "x12place": place,
    }
    if fact.findings:
        attributes["x12findings"] = ",".join(fact.findings)
    if patient_key is not None and fact.member:
        attributes["patientref"] = patient_ref(fact.member, patient_key)
    attributes["data"] = fact.data
    return _encode(attributes)


def patient_ref(member: str, patient_key: bytes) -> str:
    """Return an opaque reference to a patient: equal for equal member numbers, and nothing without the key."""
    normal = "".join(member.split()).upper()
    return f"p_{hmac.new(patient_key, normal.encode(), sha256).digest()[:_REF_BYTES].hex()}"


def given(**fields: Any) -> dict[str, Any]:  # noqa: ANN401  (any JSON)
    """Return the fields that have a value: an absent one is not written."""
    return {name: value for name, value in fields.items() if value is not None and value != []}
