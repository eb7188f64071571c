"""The words of the contract: what the three events carry, as msgspec Structs.

Everything published about the contract (JSON Schemas, AsyncAPI, examples, reference page) is generated from this file.
Sources: the 837P, 277CA, 277 and 835 transaction sets whose element names the descriptions give.
"""

from datetime import date, datetime
from typing import Annotated, Literal

from msgspec import Meta, Struct


class Cents(int):
    """An exact amount of US money in cents; on the wire a decimal string such as ``"-88.00"``, at most 9999999999.99."""


class Charge(Cents):
    """An amount that is never below zero: what was asked for a service."""


# A limit on everything: longer than any real value (an 835 allows 38 characters of claim id), short enough for an index.
MAX_ID_CHARS = 64
MAX_WORD_CHARS = 128
MAX_SOURCE_CHARS = 255
MAX_LIST_ITEMS = 1000

Id = Annotated[str, Meta(min_length=1, max_length=MAX_ID_CHARS)]
Word = Annotated[str, Meta(min_length=1, max_length=MAX_WORD_CHARS)]
Code = Annotated[str, Meta(min_length=1, max_length=16)]
# Ten digits only, no check digit: real remittances name providers whose check digit is wrong, and their claims count too.
Npi = Annotated[str, Meta(min_length=10, max_length=10, pattern="^[0-9]+$")]
Count = Annotated[int, Meta(ge=0, le=99_999)]
Minutes = Annotated[int, Meta(ge=0, le=1_440)]
PayerRank = Annotated[int, Meta(ge=1, le=3, description="1 primary, 2 secondary, 3 tertiary")]
AppealLevel = Annotated[int, Meta(ge=1, le=9)]
Codes = Annotated[list[Code], Meta(max_length=MAX_LIST_ITEMS)]

SubmissionKind = Literal["original", "replacement", "void", "appeal"]
ResponseKind = Literal[
    "acknowledged",
    "accepted",
    "rejected",
    "pended",
    "information_requested",
    "approved",
    "denied",
    "reversed",
    "forwarded",
]
EventKind = Literal["session"] | SubmissionKind | ResponseKind
Sender = Literal["payer", "clearinghouse"]
AppealReason = Literal[
    "medical_necessity",
    "coding",
    "authorization",
    "timely_filing",
    "documentation",
    "underpayment",
    "eligibility",
    "other",
]
DocumentationElement = Literal["history", "goals", "techniques", "response", "necessity"]
AdjustmentGroup = Annotated[
    Literal["CO", "PR", "OA", "PI", "CR"],
    Meta(description="who bears it: CO contract, PR patient, OA other, PI payer-initiated, CR correction (CAS01)"),
]


class Wire(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """Base of the wire Structs: unknown fields are kept in the stored body and trusted nowhere."""


class Provider(Wire, frozen=True, kw_only=True):
    """The rendering provider."""

    npi: Npi
    credential: Annotated[str, Meta(min_length=1, max_length=16, description="licence, as LMT, PT, OT, DC")]


class Procedure(Wire, frozen=True, kw_only=True):
    """One procedure performed in a session."""

    code: Annotated[Code, Meta(description="CPT or HCPCS code")]
    modifiers: Codes = []
    minutes: Minutes | None = None
    units: Count | None = None
    charge: Charge
    diagnoses: Annotated[Codes, Meta(description="ICD-10-CM codes")] = []


class Authorization(Wire, frozen=True, kw_only=True):
    """The payer's prior authorization."""

    number: Id
    valid_from: date | None = None
    valid_to: date | None = None
    units: Count | None = None


class Order(Wire, frozen=True, kw_only=True):
    """The referring provider's order or prescription."""

    npi: Npi
    date: date


class SessionRecorded(Wire, frozen=True, kw_only=True):
    """A therapy session as documented; a later event with the same ``session_id`` replaces the earlier."""

    session_id: Id
    date_of_service: date
    provider: Provider
    payer_id: Id
    plan: Word | None = None
    patient_ref: Annotated[Id, Meta(description="opaque reference, never a name, member id or birth date")]
    place_of_service: Code
    procedures: Annotated[list[Procedure], Meta(max_length=MAX_LIST_ITEMS)] = []
    authorization: Authorization | None = None
    order: Order | None = None
    documentation: Annotated[list[DocumentationElement], Meta(max_length=16, description="elements on file")] = []
    cancelled: bool = False


class ClaimLine(Wire, frozen=True, kw_only=True):
    """One service line as submitted (837P loop 2400)."""

    line: Code
    code: Code
    modifiers: Codes = []
    units: Count | None = None
    charge: Charge
    date_of_service: date | None = None


class Appeal(Wire, frozen=True, kw_only=True):
    """What an appeal argues, and at which level."""

    level: AppealLevel | None = None
    reason: AppealReason


class ClaimSubmitted(Wire, frozen=True, kw_only=True):
    """A claim, its replacement (frequency 7), its void (frequency 8) or an appeal, sent to a payer (837P CLM)."""

    submission_id: Id
    kind: SubmissionKind
    payer_id: Id
    payer_rank: PayerRank
    clearinghouse: Word | None = None
    total_charge: Annotated[Charge | None, Meta(description="CLM02; required except on an appeal")] = None
    lines: Annotated[list[ClaimLine], Meta(max_length=MAX_LIST_ITEMS)] = []
    payer_claim_number: Annotated[
        Id | None, Meta(description="the payer's number (REF*F8); required on replacement and void")
    ] = None
    appeal: Appeal | None = None


class Status(Wire, frozen=True, kw_only=True):
    """A claim status of a 277 or 277CA (STC01): category (list 507), code (list 508), entity."""

    category: Code
    code: Code
    entity: Code | None = None


class Adjustment(Wire, frozen=True, kw_only=True):
    """Why the payer did not pay an amount (835 CAS); a positive amount lowers the payment."""

    group: AdjustmentGroup
    reason: Annotated[Code, Meta(description="claim adjustment reason code (CARC)")]
    amount: Cents
    line: Code | None = None


class ResponseLine(Wire, frozen=True, kw_only=True):
    """One service line as adjudicated (835 SVC)."""

    line: Code
    code: Code
    charge: Cents | None = None
    allowed: Cents | None = None
    paid: Cents | None = None
    units: Count | None = None


class PayerResponse(Wire, frozen=True, kw_only=True):
    """What a payer or clearinghouse answered (999, 277CA, 277 or 835)."""

    response: ResponseKind
    sender: Sender
    payer_id: Id
    payer_rank: Annotated[PayerRank | None, Meta(description="absent: the rank the claim awaits")] = None
    submission_id: Id | None = None
    payer_claim_number: Id | None = None
    statuses: Annotated[list[Status], Meta(max_length=MAX_LIST_ITEMS)] = []
    received_on: date | None = None
    decided_on: date | None = None
    paid_on: date | None = None
    trace: Annotated[Word | None, Meta(description="check or EFT trace number (TRN02)")] = None
    allowed: Annotated[Cents | None, Meta(description="required on approved and reversed")] = None
    paid: Annotated[Cents | None, Meta(description="CLP04; required on approved and reversed")] = None
    patient_responsibility: Cents | None = None
    adjustments: Annotated[list[Adjustment], Meta(max_length=MAX_LIST_ITEMS)] = []
    remarks: Annotated[Codes, Meta(description="remittance advice remark codes (RARC)")] = []
    lines: Annotated[list[ResponseLine], Meta(max_length=MAX_LIST_ITEMS)] = []


EventData = SessionRecorded | ClaimSubmitted | PayerResponse


class CloudEvent(Struct, frozen=True, kw_only=True):
    """The CloudEvents 1.0 attributes that claimpath reads; others are kept in the stored body."""

    specversion: Literal["1.0"] = "1.0"
    id: Annotated[str, Meta(min_length=1, max_length=MAX_SOURCE_CHARS)]
    source: Annotated[str, Meta(min_length=1, max_length=MAX_SOURCE_CHARS)]
    type: Annotated[str, Meta(min_length=1, max_length=MAX_SOURCE_CHARS)]
    subject: Annotated[Id, Meta(description="the claim id: CLM01 of an 837, echoed as CLP01 of an 835")]
    time: Annotated[datetime, Meta(tz=True, description="when it happened in the business")]
    datacontenttype: str = "application/json"


class Event(Struct, frozen=True, gc=False):
    """An event of the contract, decoded: what the fold reads."""

    claim_id: str
    source: str
    id: str
    kind: EventKind
    time_us: int
    """When it happened, in microseconds since 1970-01-01T00:00:00Z."""
    data: EventData
    recorded_at_us: int = 0
    """When claimpath stored it, same unit, whole milliseconds; 0 before it is stored."""
