"""The words of the contract: what the three events carry, as msgspec Structs.

Everything published about the contract (JSON Schemas, AsyncAPI, examples, reference page) is generated from this file.
Sources: the 837P, 277CA, 277 and 835 transaction sets whose element names the descriptions give.
"""

from datetime import date, datetime
from typing import Annotated, Literal

from msgspec import Meta, Struct


class Cents(int):
    """An exact amount of US money in cents; on the wire a decimal string such as ``"-88.00"``, up to 9999999999.99."""


class Charge(Cents):
    """An amount that is never below zero: what was asked for a service."""


# A limit on everything: longer than any real value (an 835 allows 38 characters of claim id), short enough to index.
MAX_ID_CHARS = 64
MAX_WORD_CHARS = 128
MAX_SOURCE_CHARS = 255
MAX_LIST_ITEMS = 1000

Id = Annotated[str, Meta(min_length=1, max_length=MAX_ID_CHARS)]
Word = Annotated[str, Meta(min_length=1, max_length=MAX_WORD_CHARS)]
Code = Annotated[str, Meta(min_length=1, max_length=16)]
# Ten digits, no check digit: real remittances name providers whose check digit is wrong, and their claims count too.
Npi = Annotated[
    str,
    Meta(min_length=10, max_length=10, pattern="^[0-9]{10}$", description="National Provider Identifier, ten digits"),
]
Count = Annotated[int, Meta(ge=0, le=99_999)]
Minutes = Annotated[int, Meta(ge=0, le=1_440)]
PayerRank = Annotated[int, Meta(ge=1, le=3, description="1 primary, 2 secondary, 3 tertiary")]
AppealLevel = Annotated[int, Meta(ge=1, le=9, description="absent: one more than the last")]
Codes = Annotated[list[Code], Meta(max_length=MAX_LIST_ITEMS)]
ProcedureCode = Annotated[Code, Meta(description="CPT or HCPCS code")]
Modifiers = Annotated[Codes, Meta(description="procedure modifiers, as GP, 59, KX")]
PayerId = Annotated[Id, Meta(description="the payer, as the clearinghouse numbers it")]
LineNumber = Annotated[Code, Meta(description="the line's number on the claim (LX01)")]

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

    code: ProcedureCode
    modifiers: Modifiers = []
    minutes: Annotated[Minutes | None, Meta(description="minutes of treatment, where the code is timed")] = None
    units: Annotated[Count | None, Meta(description="units charged")] = None
    charge: Annotated[Charge, Meta(description="what is asked for all its units")]
    diagnoses: Annotated[Codes, Meta(description="ICD-10-CM codes")] = []


class Authorization(Wire, frozen=True, kw_only=True):
    """The payer's prior authorization."""

    number: Annotated[Id, Meta(description="the payer's number for it (REF*G1)")]
    valid_from: Annotated[date | None, Meta(description="first day it covers")] = None
    valid_to: Annotated[date | None, Meta(description="last day it covers")] = None
    units: Annotated[Count | None, Meta(description="units it allows")] = None


class Order(Wire, frozen=True, kw_only=True):
    """The referring provider's order or prescription."""

    npi: Npi
    date: Annotated[date, Meta(description="day it was signed")]


class SessionRecorded(Wire, frozen=True, kw_only=True):
    """A therapy session as documented; a later event with the same ``session_id`` replaces the earlier."""

    session_id: Annotated[Id, Meta(description="the source's id of the session")]
    date_of_service: Annotated[date, Meta(description="the day of treatment")]
    provider: Provider
    payer_id: PayerId
    plan: Annotated[Word | None, Meta(description="the patient's plan with this payer")] = None
    patient_ref: Annotated[Id, Meta(description="opaque reference, never a name, member id or birth date")]
    place_of_service: Annotated[Code, Meta(description="CMS place of service, as 11 office, 12 home")]
    procedures: Annotated[
        list[Procedure], Meta(max_length=MAX_LIST_ITEMS, description="what was done and what is asked for it")
    ] = []
    authorization: Authorization | None = None
    order: Order | None = None
    documentation: Annotated[list[DocumentationElement], Meta(max_length=16, description="elements on file")] = []
    cancelled: Annotated[bool, Meta(description="true: the session did not take place or was entered in error")] = False


class ClaimLine(Wire, frozen=True, kw_only=True):
    """One service line as submitted (837P loop 2400)."""

    line: LineNumber
    code: ProcedureCode
    modifiers: Modifiers = []
    units: Annotated[Count | None, Meta(description="units charged (SV104)")] = None
    charge: Annotated[Charge, Meta(description="what is asked for the line (SV102)")]
    date_of_service: Annotated[date | None, Meta(description="the day of treatment (DTP*472)")] = None


class Appeal(Wire, frozen=True, kw_only=True):
    """What an appeal argues, and at which level."""

    level: AppealLevel | None = None
    reason: Annotated[AppealReason, Meta(description="what the appeal disputes")]


class ClaimSubmitted(Wire, frozen=True, kw_only=True):
    """A claim, its replacement (frequency 7), its void (frequency 8) or an appeal, sent to a payer (837P CLM)."""

    submission_id: Annotated[
        Id, Meta(description="the sender's id of this submission, new for each; responses name it")
    ]
    kind: Annotated[
        SubmissionKind, Meta(description="what is sent; a claim sent again is a new original or a replacement")
    ]
    payer_id: PayerId
    payer_rank: PayerRank
    clearinghouse: Annotated[Word | None, Meta(description="who carries it to the payer")] = None
    total_charge: Annotated[
        Charge | None, Meta(description="what is asked for the whole claim (CLM02); required except on appeal")
    ] = None
    lines: Annotated[list[ClaimLine], Meta(max_length=MAX_LIST_ITEMS, description="service lines; may be empty")] = []
    payer_claim_number: Annotated[
        Id | None, Meta(description="the payer's number (REF*F8); required on replacement and void")
    ] = None
    appeal: Appeal | None = None


class Status(Wire, frozen=True, kw_only=True):
    """A claim status of a 277 or 277CA (STC01): category (list 507), code (list 508), entity."""

    category: Annotated[Code, Meta(description="category code, as A3 rejected, P3 pended (list 507)")]
    code: Annotated[Code, Meta(description="status code, as 20 accepted (list 508)")]
    entity: Annotated[Code | None, Meta(description="whom it is about, as 82 rendering provider (list 98)")] = None


class Adjustment(Wire, frozen=True, kw_only=True):
    """Why the payer did not pay an amount (835 CAS); a positive amount lowers the payment."""

    group: AdjustmentGroup
    reason: Annotated[Code, Meta(description="claim adjustment reason code (CARC)")]
    amount: Annotated[
        Cents, Meta(description="what the payment is lower by; negative raises it, or takes it back on a reversal")
    ]
    line: Annotated[Code | None, Meta(description="the line it is for; absent: the whole claim")] = None


class ResponseLine(Wire, frozen=True, kw_only=True):
    """One service line as adjudicated (835 SVC)."""

    line: LineNumber
    code: ProcedureCode
    charge: Annotated[Cents | None, Meta(description="what was asked (SVC02)")] = None
    allowed: Annotated[Cents | None, Meta(description="what the contract allows for it")] = None
    paid: Annotated[Cents | None, Meta(description="what is paid for it (SVC03)")] = None
    units: Annotated[Count | None, Meta(description="units paid (SVC05)")] = None


class PayerResponse(Wire, frozen=True, kw_only=True):
    """What a payer or clearinghouse answered (999, 277CA, 277 or 835)."""

    response: Annotated[ResponseKind, Meta(description="what was answered")]
    sender: Annotated[
        Sender, Meta(description="who answered; accepted by a clearinghouse is no acceptance by the payer")
    ]
    payer_id: PayerId
    payer_rank: Annotated[PayerRank | None, Meta(description="absent: the rank the claim awaits")] = None
    submission_id: Annotated[
        Id | None, Meta(description="the submission it answers; absent: the claim's current one")
    ] = None
    payer_claim_number: Annotated[Id | None, Meta(description="the payer's number of the claim (CLP07)")] = None
    statuses: Annotated[list[Status], Meta(max_length=MAX_LIST_ITEMS, description="why, on 277 and 277CA")] = []
    received_on: Annotated[date | None, Meta(description="day the payer received the claim (DTM*050)")] = None
    decided_on: Annotated[date | None, Meta(description="day of the decision; absent: the event's time")] = None
    paid_on: Annotated[
        date | None, Meta(description="day of the check or transfer (BPR16); absent: the day of the decision")
    ] = None
    trace: Annotated[Word | None, Meta(description="check or EFT trace number (TRN02)")] = None
    charge: Annotated[Cents | None, Meta(description="what was asked for the whole claim (CLP03); not counted")] = None
    allowed: Annotated[
        Cents | None, Meta(description="what the contract allows; required on approved and reversed")
    ] = None
    paid: Annotated[Cents | None, Meta(description="what is paid (CLP04); required on approved and reversed")] = None
    patient_responsibility: Annotated[
        Cents | None, Meta(description="what is left to the patient (CLP05); PR adjustments go before it")
    ] = None
    adjustments: Annotated[
        list[Adjustment], Meta(max_length=MAX_LIST_ITEMS, description="why less was paid than asked")
    ] = []
    remarks: Annotated[Codes, Meta(description="remittance advice remark codes (RARC)")] = []
    lines: Annotated[list[ResponseLine], Meta(max_length=MAX_LIST_ITEMS, description="service lines as decided")] = []


EventData = SessionRecorded | ClaimSubmitted | PayerResponse


class CloudEvent(Struct, frozen=True, kw_only=True):
    """The CloudEvents 1.0 attributes that claimpath reads; others are kept in the stored body."""

    specversion: Annotated[Literal["1.0"], Meta(description="the version of CloudEvents")]
    id: Annotated[
        str,
        Meta(
            min_length=1,
            max_length=MAX_SOURCE_CHARS,
            description="names the fact within its source, every time it is sent",
        ),
    ]
    source: Annotated[
        str, Meta(min_length=1, max_length=MAX_SOURCE_CHARS, description="the publishing system, as /ehr/eastside")
    ]
    type: Annotated[
        str,
        Meta(min_length=1, max_length=MAX_SOURCE_CHARS, description="the event type with its version; fixes the topic"),
    ]
    subject: Annotated[Id, Meta(description="the claim id: CLM01 of an 837, echoed as CLP01 of an 835")]
    time: Annotated[datetime, Meta(tz=True, description="when it happened in the business")]
    datacontenttype: Annotated[str, Meta(description="the form of data, always JSON")] = "application/json"


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
