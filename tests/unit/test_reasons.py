"""The table of adjustment reasons is whole and closed, and says which adjustments are denials."""

import csv
import re
from datetime import date, timedelta
from itertools import pairwise
from pathlib import Path
from typing import get_args

import pytest

from services.intake import reasons
from services.intake.reasons import AS_OF, Category, Chance, Family, Reason, family, in_force, reason, refuses

TABLE = Path(reasons.__file__).with_name("carc.csv")
FILES = Path(__file__).resolve().parents[3] / "shared" / "x12"
ROWS = list(csv.DictReader(TABLE.read_text(encoding="utf-8").splitlines()))
ALL = [found for row in ROWS if (found := reason(row["code"]))]
CATEGORIES: tuple[Category, ...] = get_args(Category)
CODE = re.compile(r"([A-Z]?)([0-9]+)")
# Reasons are the second element of a CAS segment and every third after it.
CAS = re.compile(r"(?<![A-Za-z0-9])CAS\*[A-Z]{2}\*([^~|\r\n]*)")
DAY = timedelta(days=1)


def test_the_table_has_one_row_for_a_code_in_the_order_people_count() -> None:
    """Each code stands once, the numbers first, each letter's codes after them, and 9 before 10."""
    keys = [(match[1], int(match[2])) for row in ROWS if (match := CODE.fullmatch(row["code"]))]
    assert len(keys) == len(ROWS) == len(ALL)
    assert all(before < after for before, after in pairwise(keys))


def test_the_table_holds_only_its_columns() -> None:
    """Every row has exactly the fields of a reason."""
    assert {tuple(row) for row in ROWS} == {
        ("code", "category", "correctable", "appealable", "effective_from", "effective_to", "meaning")
    }
    assert set(ROWS[0]) == set(Reason._fields)


def test_every_code_has_a_class() -> None:
    """No code, retired or not, is without a category of the closed set and the two chances; no category is idle."""
    assert {known.category for known in ALL} == set(CATEGORIES)
    assert {chance for known in ALL for chance in (known.correctable, known.appealable)} <= set(get_args(Chance))


def test_meanings_fit_on_a_line() -> None:
    """Each code has its own words: at most ten of them, at most 80 characters, the same for no two codes."""
    meanings = [known.meaning for known in ALL]
    assert [meaning for meaning in meanings if len(meaning.split()) > 10 or len(meaning) > 80] == []
    assert [meaning for meaning in meanings if meaning != meaning.strip() or not meaning[0].isupper()] == []
    assert len(set(meanings)) == len(meanings)


def test_dates_are_in_order() -> None:
    """A code ends after it began, and neither lies after the day the table describes."""
    assert [known.code for known in ALL if known.effective_from and known.effective_from > AS_OF] == []
    ended = [known for known in ALL if known.effective_to]
    assert [
        known.code for known in ended if (known.effective_from or date.min) >= (known.effective_to or date.max)
    ] == []
    assert [known.code for known in ended if (known.effective_to or date.max) > AS_OF] == []


def test_only_the_youngest_codes_lack_a_first_day() -> None:
    """Of every code but 307 and 308 it is known since when it is in force."""
    assert [known.code for known in ALL if known.effective_from is None] == ["307", "308"]


@pytest.mark.parametrize(
    ("code", "last_day", "category"),
    [
        ("42", date(2007, 6, 1), "contractual"),
        ("A2", date(2008, 1, 1), "contractual"),
        ("A7", date(2015, 7, 1), "contractual"),
        ("62", date(2007, 4, 1), "authorization"),
        ("15", date(2018, 5, 1), "authorization"),
        ("D6", date(2003, 10, 16), "documentation_data"),
        ("W1", date(2014, 7, 1), "contractual"),
    ],
)
def test_a_retired_code_keeps_its_class(code: str, last_day: date, category: Category) -> None:
    """Old files are read with the codes of their time: retired ones are known, with class and last day."""
    known = reason(code)
    assert known is not None
    assert (known.category, known.effective_to) == (category, last_day)
    assert in_force(known, last_day)
    assert not in_force(known, last_day + DAY)


def test_a_code_is_in_force_from_its_first_day_on() -> None:
    """A code is not in force before its first day, and without a last day is in force for good."""
    known = reason("302")
    assert known is not None
    assert known.effective_from == date(2020, 11, 1)
    assert not in_force(known, date(2020, 10, 31))
    assert in_force(known, date(2020, 11, 1))
    assert in_force(known, date(2099, 12, 31))


def test_a_date_that_is_not_known_limits_nothing() -> None:
    """A code without dates counts as in force on any day."""
    known = reason("307")
    assert known is not None
    assert in_force(known, date(1995, 1, 1))
    assert in_force(known, date(2099, 12, 31))


@pytest.mark.parametrize("code", ["1", "2", "3", "45", "23", "71", "99", "A3"])
def test_ordinary_adjustments_are_no_denials(code: str) -> None:
    """Deductible, coinsurance, co-payment, the contract's write-off and an earlier payer's effect deny nothing."""
    assert refuses(code) is False


@pytest.mark.parametrize("code", ["16", "29", "50", "97", "18", "96", "204", "A1"])
def test_refusals_are_denials(code: str) -> None:
    """A service refused for its coding, lateness, necessity, coverage or for no stated reason is denied."""
    assert refuses(code) is True


def test_write_offs_patient_shares_and_open_decisions_are_no_denials() -> None:
    """Of all codes only those of these three categories, and the prior payer's, deny nothing."""
    harmless = {known.code for known in ALL if not refuses(known.code)}
    named = {known.code for known in ALL if known.category in {"contractual", "patient_responsibility", "pending"}}
    assert harmless == named | {"23", "71", "99", "A3"}


@pytest.mark.parametrize("code", ["", "0", "45 ", "045", "a1", "309", "P33", "N130"])
def test_nothing_is_guessed_of_a_code_that_the_list_lacks(code: str) -> None:
    """An unknown code is neither a denial nor none."""
    assert reason(code) is None
    assert refuses(code) is None


@pytest.mark.parametrize(
    ("category", "expected"),
    [
        ("bundling_coding", "coding"),
        ("documentation_data", "documentation"),
        ("medical_necessity", "necessity"),
        ("timely_filing", "guidelines"),
        ("authorization", "guidelines"),
        ("benefit_limit", "guidelines"),
        ("eligibility", "guidelines"),
        ("coordination_of_benefits", "guidelines"),
    ],
)
def test_denials_fall_into_four_families(category: Category, expected: Family) -> None:
    """Improper coding, missing documentation, lacking necessity and missed guidelines follow from the category."""
    assert family(category) == expected


@pytest.mark.parametrize("category", CATEGORIES)
def test_every_category_of_denials_has_a_family_or_names_no_reason(category: Category) -> None:
    """What denies is of one of the four families, unless it leaves its reason to a remark; nothing else is."""
    denies = any(refuses(known.code) for known in ALL if known.category == category)
    assert (family(category) is not None) == (denies and category != "unspecified_denial")


@pytest.mark.skipif(not FILES.is_dir(), reason="the X12 files of others are not part of the repository")
def test_every_reason_in_files_of_others_is_known() -> None:
    """The remittances that others published name no reason that the table lacks."""
    texts = [path.read_text(encoding="utf-8", errors="replace") for path in sorted(FILES.rglob("*")) if path.is_file()]
    seen = {code for text in texts for rest in CAS.findall(text) for code in rest.split("*")[::3] if code}
    assert len(seen) > 10
    assert [code for code in sorted(seen) if reason(code) is None] == []
