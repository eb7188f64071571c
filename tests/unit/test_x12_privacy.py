"""Nothing of a patient leaves the reader of files but what the contract has: no name, number, birth date or address."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.intake.files import Item, Publishable
from tests.x12_files import batch, decided, events, file, interchange, read, remittance, sent, served

FILES = Path(__file__).resolve().parents[3] / "shared" / "x12"
KEY, OTHER_KEY = b"a key of this test", b"another key"
# The patient, the insured, and the insured as the payer corrects them (NM101).
PEOPLE = ("QC", "IL", "74")
# A word of three letters, or of one, stands in claim ids and codes by chance: "LEE", "M", "IL".
SHORTEST = 4
# What may stand below a person's NM1 and is of the same person; REF*SY is the social security number.
OF_PERSON = {"N2", "N3", "N4", "DMG", "REF", "PER"}


@pytest.mark.skipif(not FILES.is_dir(), reason="the X12 files of others are not part of the repository")
@pytest.mark.parametrize("key", [None, KEY], ids=["without a key", "with a key"])
def test_nothing_of_a_patient_leaves_a_sample_file(key: bytes | None) -> None:
    """Names, numbers, birth dates and addresses of patients are in no event, finding, refusal or other item."""
    canaries = 0
    for path in sorted(FILES.glob("*/*")):
        text = path.read_bytes()
        told = said(read(text, patient_key=key))
        for secret in secrets(text):
            canaries += 1
            assert not stands_in(secret, told), f"{path.name}: a value of {len(secret)} characters"
    assert canaries > 400


@pytest.mark.skipif(not FILES.is_dir(), reason="the X12 files of others are not part of the repository")
def test_the_canaries_would_sing() -> None:
    """The same search finds every one of these values in the file itself, and claim ids in what is published."""
    path = FILES / "LinuxForHealth__x12" / "demo.837"
    text = path.read_bytes()
    assert {"SMITH", "TED", "19730501", "236 N MAIN ST", "JS00111223333"} & set(secrets(text))
    assert all(stands_in(secret, text.decode()) for secret in secrets(text))
    assert stands_in("26463774", said(read(text)))


def test_findings_and_refusals_hold_nothing_of_a_patient() -> None:
    """What is wrong with a claim is told without a value of it, wherever in the claim it is wrong."""
    person = "NM1*QC*1*CANARYNAME*CANARYFIRST*CANARYMIDDLE***MI*CANARYMEMBER"
    around = ("N3*CANARYSTREET", "DMG*D8*19770707*F", "REF*SY*CANARYNUMBER")
    wrong = [
        *("CLP*A1*1*CANARYMONEY*80", "CLP*A1*CANARYSTATUS*100*80", "CLP*A1*1*100*80.CANARY", "CLP**1*100*80"),
        *("CLP*A1*1*100*80*CANARYSHARE", "CLP*A1*1*100*-80", f"CLP*{'CANARY' * 11}*1*100*80"),
    ]
    inside = [
        *("CAS*CANARYGROUP*45*20", "CAS*CO*CANARYREASONTOOLONG*20", "CAS*CO*45*CANARYMONEY", "CAS*CO**20"),
        *("SVC*HC:97124*CANARYCHARGE*80", "SVC*HC:CANARYPROCEDURECODE*100*80", "CANARYTAG*1", "DTM*050*CANARYDAY"),
    ]
    told = []
    for clp, rest in [*((clp, "CAS*CO*45*20") for clp in wrong), *(("CLP*A1*1*100*80", each) for each in inside)]:
        found = read(file(*interchange(remittance((clp, person, *around, rest)))), patient_key=KEY)
        told += [repr(item) for item in found if not isinstance(item, Publishable)]
    assert len(told) > len(wrong) + len(inside)
    assert "CANARY" not in "".join(told)
    assert "19770707" not in "".join(told)


def test_with_a_key_only_a_reference_leaves() -> None:
    """One member is one reference, in claim and remittance; without a key there is none, with another another."""
    claim = file(*interchange(batch(sent("A1*100***11:B:1", *served(1, "97124", "100"), member="MEM 0042"))))
    paid = file(*interchange(remittance(decided("A1*1*100*80", "NM1*QC*1*DOE*JANE****MI*mem0042", "CAS*CO*45*20"))))
    other = file(*interchange(remittance(decided("A1*1*100*80", "NM1*QC*1*DOE*JANE****MI*MEM0043", "CAS*CO*45*20"))))
    references = {
        (name, key): event.get("patientref")
        for name, text in (("claim", claim), ("paid", paid), ("other", other))
        for key in (None, KEY, OTHER_KEY)
        for event in events(read(text, patient_key=key))
    }
    assert {references[name, None] for name in ("claim", "paid", "other")} == {None}
    assert references["claim", KEY] == references["paid", KEY]
    assert len({references[name, key] for name in ("claim", "other") for key in (KEY, OTHER_KEY)}) == 4
    assert all(re.fullmatch(r"p_[0-9a-f]{24}", str(each)) for each in references.values() if each)


def test_a_reference_is_no_part_of_an_events_identity() -> None:
    """With a key, without one or with another, a file gives the same events under the same ids."""
    text = file(*interchange(batch(sent("A1*100***11:B:1", *served(1, "97124", "100")))))
    assert len({event["id"] for key in (None, KEY, OTHER_KEY) for event in events(read(text, patient_key=key))}) == 1


def said(found: list[Item]) -> str:
    """Everything that is told of a file, as events and as any item prints itself."""
    bodies = [(item.record.value or b"").decode() for item in found if isinstance(item, Publishable)]
    return "\n".join([*bodies, *map(repr, found)])


def secrets(text: bytes) -> Iterator[str]:
    """What the file says of its patients; a plain split finds it, so that no reader of ours decides what it is."""
    enveloped = text.startswith(b"ISA")
    element = text[3:4].decode() if enveloped else "*"
    terminator = text[105:106].decode() if enveloped else "~"
    of_patient = False
    for segment in text.decode().split(terminator):
        tag, *parts = segment.strip().split(element)
        values: list[str] = []
        if tag == "NM1":
            of_patient = parts[0] in PEOPLE
            values = [*parts[2:5], *parts[8:9]] if of_patient else []
        elif of_patient and (tag == "DMG" or parts[:1] == ["SY"]):
            values = parts[1:2]
        elif of_patient and tag == "N3":
            values = parts
        elif tag not in OF_PERSON:
            of_patient = False
        yield from (value.strip() for value in values if len(value.strip()) >= SHORTEST)


def stands_in(secret: str, told: str) -> bool:
    """Whether a value stands there as a word of its own, in whatever case."""
    return re.search(rf"(?<![^\W_]){re.escape(secret)}(?![^\W_])", told, re.IGNORECASE) is not None
