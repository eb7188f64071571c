"""Who pays in the samples, how soon, how much, and why not: payers of our own invention in the ways of real ones.

Durations and shares are judgement; the denial, remark and status codes are real ones that therapists meet.
"""

from dataclasses import dataclass
from itertools import accumulate
from typing import Final, Literal, NamedTuple

from events.contracts import AppealReason, Sender, SubmissionKind


class Delay(NamedTuple):
    """A log-normal duration: half of them are shorter than the median; ``spread`` is the sigma of the logarithm."""

    median_days: float
    spread: float


class Denial(NamedTuple):
    """Why a payer denies, and what a biller can do about it."""

    group: Literal["CO", "PR", "OA", "PI"]
    reason: str
    remarks: tuple[str, ...] = ()
    fix: SubmissionKind | None = None
    appeal: AppealReason | None = None


class FrontEnd(NamedTuple):
    """A status that ends a claim before adjudication (277CA: A3, A6, A7, A8), and who finds it."""

    sender: Sender
    category: str
    code: str
    entity: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Payer:
    """A payer's habits; shares are of its claims, from 0 to 1."""

    id: str
    kind: Literal["medicare", "commercial", "medicaid", "workers_comp", "auto"]
    weight: float
    """Its part of all primary claims, relative to the others."""
    plans: tuple[str, ...]
    unit_rule: Literal["cms", "ama"] = "ama"
    clearinghouse: str = "CH-01"
    allowed: tuple[float, float]
    """The allowed amount as a part of the charge: from, to."""
    coinsurance: float = 0.0
    copay: int = 0
    """Cents a claim."""
    deductible: float = 0.0
    """Claims that meet an unmet deductible: allowed, and all of it the patient's."""
    sequestration: float = 0.0
    """Part of its own payment that the payer keeps (reason 253)."""
    acknowledgement: Delay
    """Submission to acceptance."""
    decision: Delay
    """Submission to decision."""
    payment: Delay
    """Decision to money."""
    appeal: Delay
    """Appeal to decision."""
    payment_floor_days: int = 0
    """From receipt: no money before that."""
    filing_days: int
    """From the date of service: later is too late."""
    acknowledges: float = 1.0
    rejected: float = 0.05
    denied: float = 0.1
    pended: float = 0.08
    silent: float = 0.02
    """Claims that are never answered."""
    line_denied: float = 0.04
    underpaid: float = 0.03
    recouped: float = 0.015
    """Approvals taken back later."""
    instalments: float = 0.0
    secondary: float = 0.0
    """Approvals that leave something to a second payer."""
    crosses_over: float = 0.0
    """Of those: forwarded by the payer itself."""
    reasons: dict[str, float]
    """Denial reasons (keys of ``DENIALS``) and how often each, relative to the others."""


DENIALS: Final = {
    "4": Denial("CO", "4", ("N822",), "replacement", "coding"),
    "8": Denial("CO", "8", ("N95",)),
    "11": Denial("CO", "11", ("M76",), "replacement", "medical_necessity"),
    "15": Denial("CO", "15", ("M62",), "replacement", "authorization"),
    "16": Denial("CO", "16", ("MA130", "N290"), "original"),
    "18": Denial("OA", "18", ("N522",)),
    "19": Denial("CO", "19", (), "replacement", "other"),
    "22": Denial("CO", "22", ("MA04",), "replacement", "eligibility"),
    "27": Denial("PR", "27", ("N30",), None, "eligibility"),
    "29": Denial("CO", "29", (), None, "timely_filing"),
    "31": Denial("CO", "31", ("N382",), "original"),
    "50": Denial("CO", "50", ("N115",), None, "medical_necessity"),
    "96": Denial("PR", "96", ("N130",), None, "other"),
    "97": Denial("CO", "97", ("M15",), "replacement", "coding"),
    "119": Denial("PR", "119", ("N640",), None, "medical_necessity"),
    "151": Denial("CO", "151", ("N362",), "replacement", "documentation"),
    "170": Denial("CO", "170", ("N95",)),
    "173": Denial("CO", "173", (), "replacement", "documentation"),
    "197": Denial("CO", "197", ("M62",), None, "authorization"),
    "198": Denial("CO", "198", ("N54",), None, "authorization"),
    "204": Denial("PR", "204", ("N130",)),
    "226": Denial("PI", "226", ("N706",), "replacement", "documentation"),
    "234": Denial("CO", "234", ("M15",)),
    "252": Denial("CO", "252", ("N706",), "replacement", "documentation"),
}
# A line may be refused while its claim is paid.
LINE_DENIALS: Final = ("97", "151", "4", "119")
# The payer's answer to an appeal that it refuses.
UPHELD: Final = Denial("CO", "193", ("N10",))
# What a payer finds later that makes it take an approval back.
RECOUPMENTS: Final = ("22", "27", "50")

REJECTIONS: Final = (
    FrontEnd("clearinghouse", "A3", "562", "82"),  # rendering provider's NPI
    FrontEnd("clearinghouse", "A6", "21"),  # missing or invalid information
    FrontEnd("clearinghouse", "A7", "255"),  # diagnosis code
    FrontEnd("clearinghouse", "A8", "187"),  # dates of service disagree
    FrontEnd("payer", "A3", "33", "IL"),  # subscriber not found
    FrontEnd("payer", "A7", "164", "IL"),  # member number
    FrontEnd("payer", "A7", "453"),  # modifiers
    FrontEnd("payer", "A8", "454"),  # procedure code
)
PENDS: Final = (("P1", "38"), ("P2", "46"), ("P2", "52"), ("P5", "45"))
REQUESTS: Final = (("R4", "294"), ("R4", "317"), ("P3", "286"), ("P3", "317"))

SUPPLEMENT: Final = Payer(
    id="SP620",
    kind="commercial",
    weight=0.0,
    plans=("PLAN-F", "PLAN-G"),
    allowed=(1.0, 1.0),
    acknowledgement=Delay(0.6, 0.5),
    decision=Delay(14, 0.4),
    payment=Delay(1.5, 0.5),
    appeal=Delay(35, 0.3),
    filing_days=365,
    denied=0.03,
    underpaid=0.0,
    reasons={"27": 2, "204": 2, "22": 1},
)
PAYERS: Final = (
    Payer(
        id="MB001",
        kind="medicare",
        weight=24,
        plans=("PART-B",),
        unit_rule="cms",
        clearinghouse="CH-02",
        allowed=(0.45, 0.6),
        coinsurance=0.2,
        deductible=0.06,
        sequestration=0.02,
        acknowledgement=Delay(0.4, 0.4),
        decision=Delay(13, 0.15),
        payment=Delay(1, 0.3),
        appeal=Delay(48, 0.2),
        payment_floor_days=14,
        filing_days=365,
        denied=0.08,
        pended=0.04,
        silent=0.005,
        underpaid=0.01,
        recouped=0.02,
        secondary=0.6,
        crosses_over=0.8,
        reasons={"50": 5, "16": 5, "97": 3, "151": 3, "4": 3, "119": 2, "22": 1, "173": 1},
    ),
    Payer(
        id="60110",
        kind="commercial",
        weight=22,
        plans=("PPO-2026", "PPO-HD"),
        allowed=(0.6, 0.78),
        coinsurance=0.2,
        deductible=0.15,
        acknowledgement=Delay(0.8, 0.5),
        decision=Delay(17, 0.45),
        payment=Delay(3, 0.4),
        appeal=Delay(38, 0.3),
        filing_days=180,
        secondary=0.08,
        reasons={"197": 4, "50": 3, "97": 3, "16": 3, "119": 2, "96": 1, "11": 1, "29": 0.5, "170": 1},
    ),
    Payer(
        id="60220",
        kind="commercial",
        weight=14,
        plans=("HMO-2026",),
        allowed=(0.55, 0.66),
        copay=3000,
        acknowledgement=Delay(0.5, 0.4),
        decision=Delay(10, 0.4),
        payment=Delay(2, 0.4),
        appeal=Delay(30, 0.3),
        filing_days=90,
        denied=0.14,
        reasons={"197": 6, "15": 3, "198": 2, "119": 3, "50": 2, "16": 2, "8": 1, "29": 0.5},
    ),
    Payer(
        id="60330",
        kind="commercial",
        weight=14,
        plans=("POS-2026", "EPO-2026"),
        clearinghouse="CH-02",
        allowed=(0.5, 0.85),
        coinsurance=0.3,
        deductible=0.25,
        acknowledgement=Delay(1.2, 0.6),
        decision=Delay(26, 0.5),
        payment=Delay(5, 0.4),
        appeal=Delay(52, 0.35),
        filing_days=120,
        denied=0.12,
        pended=0.15,
        silent=0.03,
        underpaid=0.07,
        secondary=0.05,
        reasons={"50": 4, "151": 3, "252": 3, "97": 3, "226": 2, "197": 2, "96": 2, "16": 2},
    ),
    Payer(
        id="MC210",
        kind="medicaid",
        weight=12,
        plans=("STATE-PLAN", "MANAGED-CARE"),
        unit_rule="cms",
        allowed=(0.3, 0.42),
        acknowledgement=Delay(1.0, 0.5),
        decision=Delay(21, 0.35),
        payment=Delay(4, 0.3),
        appeal=Delay(60, 0.3),
        filing_days=180,
        rejected=0.09,
        denied=0.17,
        reasons={"31": 4, "16": 4, "197": 3, "15": 2, "22": 3, "27": 2, "29": 1, "119": 1},
    ),
    Payer(
        id="WC400",
        kind="workers_comp",
        weight=8,
        plans=("STATE-FUND",),
        allowed=(0.7, 0.9),
        acknowledgement=Delay(2.5, 0.6),
        decision=Delay(33, 0.5),
        payment=Delay(6, 0.5),
        appeal=Delay(75, 0.4),
        filing_days=365,
        acknowledges=0.6,
        denied=0.13,
        pended=0.2,
        silent=0.05,
        instalments=0.1,
        reasons={"19": 1, "197": 4, "50": 3, "252": 3, "151": 2, "16": 2},
    ),
    Payer(
        id="AU510",
        kind="auto",
        weight=6,
        plans=("PIP", "MEDPAY"),
        allowed=(0.8, 1.0),
        acknowledgement=Delay(3, 0.6),
        decision=Delay(41, 0.6),
        payment=Delay(5, 0.6),
        appeal=Delay(90, 0.4),
        filing_days=365,
        acknowledges=0.4,
        rejected=0.03,
        denied=0.16,
        pended=0.25,
        silent=0.06,
        instalments=0.12,
        reasons={"50": 4, "226": 3, "252": 3, "119": 2, "151": 2},
    ),
)
PAYER_WEIGHTS: Final = tuple(accumulate(payer.weight for payer in PAYERS))
