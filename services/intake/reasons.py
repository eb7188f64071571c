"""The claim adjustment reason codes (CARC) of remittances: what each means, its class, and when it was in force.

The list is X12's external code list 139; the words, classes and judgements in `carc.csv` are ours.
"""

import csv
from datetime import date
from pathlib import Path
from typing import Final, Literal, NamedTuple

import msgspec

Category = Literal[
    "appeal_outcome",
    "authorization",
    "benefit_limit",
    "bundling_coding",
    "contractual",
    "coordination_of_benefits",
    "coverage_exclusion",
    "documentation_data",
    "duplicate",
    "eligibility",
    "medical_necessity",
    "patient_responsibility",
    "pending",
    "provider_credentialing",
    "timely_filing",
    "unspecified_denial",
]
Family = Literal["coding", "documentation", "necessity", "guidelines"]
Chance = Literal["y", "s", "n"]  # yes as a rule, sometimes, no as a rule


class Reason(NamedTuple):
    """One code; a date that is absent is not known, and limits nothing."""

    code: str
    category: Category
    correctable: Chance
    appealable: Chance
    effective_from: date | None
    effective_to: date | None
    meaning: str


# The codes, and which of them are retired, are those of the list as published on this day. The dates are those of the
# lists of March 2016 and June 2024, which agree; 307 and 308 are younger, so their first days are not known.
AS_OF: Final = date(2026, 8, 17)

# A denial that leaves its reason to a remark code is of no family, and so is what denies nothing.
_FAMILIES: Final[dict[Category, Family | None]] = {
    "bundling_coding": "coding",
    "documentation_data": "documentation",
    "medical_necessity": "necessity",
    "appeal_outcome": "guidelines",
    "authorization": "guidelines",
    "benefit_limit": "guidelines",
    "coordination_of_benefits": "guidelines",
    "coverage_exclusion": "guidelines",
    "duplicate": "guidelines",
    "eligibility": "guidelines",
    "provider_credentialing": "guidelines",
    "timely_filing": "guidelines",
    "unspecified_denial": None,
    "contractual": None,
    "patient_responsibility": None,
    "pending": None,
}
_NO_DENIAL: Final[frozenset[Category]] = frozenset({"contractual", "patient_responsibility", "pending"})

# What an earlier payer did is no decision of this one: 23 says so today; 71, 99 and A3 said it until they were retired.
_PRIOR_PAYER: Final = frozenset({"23", "71", "99", "A3"})


def reason(code: str) -> Reason | None:
    """Return what is known of a code; none if the list has no such code."""
    return _REASONS.get(code)


def in_force(reason: Reason, on: date) -> bool:
    """Whether payers could give the reason on that day: both dates are days of use."""
    return (reason.effective_from is None or reason.effective_from <= on) and (
        reason.effective_to is None or on <= reason.effective_to
    )


def family(category: Category) -> Family | None:
    """Return which of the four families of denials the category is of; none if it is no denial or names no reason."""
    return _FAMILIES[category]


def refuses(code: str) -> bool | None:
    """Whether an adjustment with this code is a reason of denial; none if the list has no such code.

    Deductible, coinsurance, co-payment (PR-1 to PR-3), the contract's write-off (CO-45) and what an earlier payer did
    (OA-23) never are. The group says who bears the amount: PR-96 and CO-96 are both refusals, so only the code decides.
    """
    known = reason(code)
    if known is None:
        return None
    return code not in _PRIOR_PAYER and known.category not in _NO_DENIAL


def _read(table: Path) -> dict[str, Reason]:
    with table.open(encoding="utf-8", newline="") as lines:
        _, *rows = csv.reader(lines)
    reasons = msgspec.convert([[cell or None for cell in row] for row in rows], list[Reason], strict=False)
    return {reason.code: reason for reason in reasons}


_REASONS: Final = _read(Path(__file__).with_name("carc.csv"))
ALL: Final = tuple(_REASONS.values())
