"""What an 837 says was sent: claims, replacements and voids, each under its own subscriber and to its own payer."""

import pytest

from services.intake.files import Item
from tests.x12_files import (
    batch,
    data,
    decided,
    events,
    file,
    findings,
    interchange,
    read,
    refusals,
    remittance,
    sent,
    served,
    transaction,
)

KEY = b"a key of this test"
CLAIM = sent("A1*100***11:B:1*Y*A*Y*Y", *served(1, "97124", "100"))


def test_an_event_says_what_the_claim_says() -> None:
    """Kind, payer, rank, charge and lines of a claim are told in the contract's words, and nothing else is."""
    line = ("LX*2", "SV1*HC:97140:GP:59:KX*40.5*UN*2***1", "DTP*472*RD8*20260502-20260509", "REF*6R*LINE-2")
    found = submitted(
        sent("A1*100.5***11:B:1*Y*A*Y*Y", "DTP*431*D8*20260401", *served(1, "97124", "60", day="20260501"), *line)
    )
    [event] = events(found)
    submission_id = event["data"].pop("submission_id")
    assert event["data"] == {
        "kind": "original",
        "payer_id": "87726",
        "payer_rank": 1,
        "clearinghouse": "HOUSE1",
        "total_charge": "100.50",
        "lines": [
            {"line": "1", "code": "97124", "units": 1, "charge": "60.00", "date_of_service": "2026-05-01"},
            {
                "line": "LINE-2",
                "code": "97140",
                "modifiers": ["GP", "59", "KX"],
                "units": 2,
                "charge": "40.50",
                "date_of_service": "2026-05-02",
            },
        ],
    }
    assert submission_id == f"BATCH1-{event['id'][:12]}"
    assert (event["subject"], event["source"], event["time"]) == ("A1", "/x12/837", "2026-06-02T11:59:00-04:00")
    assert findings(found) == []


@pytest.mark.parametrize(
    ("place", "kind", "told"),
    [
        ("11:B:1", "original", []),
        ("11:B:7", "replacement", []),
        ("11:B:8", "void", []),
        ("11::1", "original", []),
        ("11:B", "original", ["no_frequency"]),
        ("11", "original", ["no_frequency"]),
        ("11>B>7", "replacement", ["component_separator"]),
    ],
)
def test_the_frequency_tells_the_kind(place: str, kind: str, told: list[str]) -> None:
    """Frequency 1 is an original, 7 a replacement, 8 a void; where none is given it is an original, and told."""
    found = submitted(sent(f"A1*100***{place}*Y*A*Y*Y", "REF*F8*ICN1", *served(1, "97124", "100")))
    [submission] = data(found)
    assert (submission["kind"], submission["payer_claim_number"], findings(found)) == (kind, "ICN1", told)


@pytest.mark.parametrize(
    ("rank", "expected", "told"), [("P", 1, []), ("S", 2, []), ("T", 3, []), ("U", 1, ["no_payer_rank"])]
)
def test_the_subscriber_tells_the_payers_rank(rank: str, expected: int, told: list[str]) -> None:
    """SBR01 names the payer's place in line; where it is not known the payer is taken to be the first, and told."""
    found = submitted(sent(*CLAIM[4].split("*", 1)[1:], *CLAIM[5:], rank=rank))
    assert ([each["payer_rank"] for each in data(found)], findings(found)) == ([expected], told)


@pytest.mark.parametrize(
    ("claim", "refused"),
    [
        (sent("A1*100***11:B:7*Y*A*Y*Y", *served(1, "97124", "100")), "$.data.payer_claim_number: required on kind "),
        (sent("A1*100***11:B:8*Y*A*Y*Y", *served(1, "97124", "100")), "$.data.payer_claim_number: required on kind "),
        (sent("A1*100***11:B:2*Y*A*Y*Y", *served(1, "97124", "100")), "CLM05: the claim frequency (component 3) is "),
        (sent("A1*100***11:B:X*Y*A*Y*Y", *served(1, "97124", "100")), "CLM05: the claim frequency (component 3) is "),
        (sent("*100***11:B:1*Y*A*Y*Y", *served(1, "97124", "100")), "CLM01: required"),
        (sent("A1****11:B:1*Y*A*Y*Y", *served(1, "97124", "100")), "CLM02: required"),
        (sent("A1*1OO***11:B:1*Y*A*Y*Y", *served(1, "97124", "100")), "CLM02: money is digits"),
        (sent("A1*-100***11:B:1*Y*A*Y*Y", *served(1, "97124", "0")), "$.data.total_charge: a charge is never below"),
        (sent("A1*100***11:B:1*Y*A*Y*Y", *served(1, "97124", "-100")), "SV102: a charge is never below zero"),
        (sent("A1*100***11:B:1*Y*A*Y*Y", *served(1, "97124", "")), "SV102: required"),
        (sent("A1*100***11:B:1*Y*A*Y*Y", "LX*1"), "CLM01: line 1 has neither SV1 nor SV2"),
        (sent("A1*100***11:B:1*Y*A*Y*Y", *served(1, "97124", "100"), rank="A"), "CLM01: SBR01 above this claim"),
        (sent(f"{'A' * 65}*100***11:B:1*Y*A*Y*Y", *served(1, "97124", "100")), "$.subject: "),
    ],
)
def test_a_claim_that_cannot_be_sent_so_is_refused_alone(claim: tuple[str, ...], refused: str) -> None:
    """A claim that breaks a rule is refused by that rule; the claims around it are published."""
    other = sent("A2*50***11:B:1*Y*A*Y*Y", *served(1, "97140", "50"))
    found = submitted(other, claim, other)
    assert [event["subject"] for event in events(found)] == ["A2", "A2"]
    [(_, rule)] = refusals(found)
    assert rule.startswith(refused)


def test_lines_that_do_not_add_up_are_told() -> None:
    """A total that is not the sum of its lines is published as it stands, with a finding."""
    found = submitted(sent("A1*101***11:B:1*Y*A*Y*Y", *served(1, "97124", "100")))
    assert ([each["total_charge"] for each in data(found)], findings(found)) == (["101.00"], ["line_total"])


def test_an_institutional_line_may_have_a_revenue_code_alone() -> None:
    """SV2 names a procedure, or only the revenue code, and is a line either way."""
    lines = ("LX*1", "SV2*0420*HC:97110:GP*60*UN*2", "LX*2", "SV2*0430**40*UN*1", "DTP*472*D8*20260601")
    [submission] = data(read(file(*interchange(batch(sent("A1*100***13:A:1**A*Y*Y", *lines), version="005010X223A2")))))
    assert submission["lines"] == [
        {"line": "1", "code": "97110", "modifiers": ["GP"], "units": 2, "charge": "60.00"},
        {"line": "2", "code": "0430", "units": 1, "charge": "40.00", "date_of_service": "2026-06-01"},
    ]


def test_dental_claims_are_refused_as_a_set() -> None:
    """An 837D speaks of teeth, which no claim here has: it is refused whole, once."""
    found = read(file(*interchange(batch(CLAIM, version="005010X224A2"))))
    assert (events(found), refusals(found)) == ([], [(3, "ST03: dental claims (837D) are not read")])


def test_a_batch_without_its_beginning_is_told() -> None:
    """Claims are read where BHT is missing, on the day of the envelope, and what is missing is refused."""
    segments = tuple(each for each in batch(CLAIM) if not each.startswith("BHT"))
    found = read(file(*interchange(segments, day="20260604", clock="0815")))
    assert [event["time"] for event in events(found)] == ["2026-06-04T08:15:00-04:00"]
    assert refusals(found) == [(3, "BHT: required in an 837")]


def test_each_claim_goes_to_the_payer_above_it() -> None:
    """Payer, rank and member are those of the subscriber whose loop is open, and of no earlier one."""
    first = sent("A1*100***11:B:1*Y*A*Y*Y", *served(1, "97124", "100"), payer="P1", rank="S", member="M1")
    second = sent("A2*100***11:B:1*Y*A*Y*Y", *served(1, "97124", "100"), payer="P2", member="M2")
    again = (second[4].replace("A2", "A3"), *second[5:])
    found = submitted(first, second, again)
    assert placed(found) == [("A1", "P1", 2, "M1"), ("A2", "P2", 1, "M2"), ("A3", "P2", 1, "M2")]
    nobody = ("HL*4*1*22*0", "SBR*P*18*******CI", "CLM*A4*100***11:B:1*Y*A*Y*Y", *served(1, "97124", "100"))
    found = submitted(first, nobody)
    assert placed(found) == [("A1", "P1", 2, "M1"), ("A4", "HOUSE1", 1, None)]
    assert findings(found) == ["no_payer_id"]


def test_a_patient_below_the_subscriber_keeps_payer_and_member() -> None:
    """A dependant's HL stands below the subscriber's, whose payer pays and whose number is the claim's."""
    subscriber = sent("", payer="P1", rank="S", member="M1")[:4]
    dependants = [
        *("HL*3*2*23*0", "PAT*19", "NM1*QC*1*DOE*JUNE", "CLM*A1*100***11:B:1*Y*A*Y*Y", *served(1, "97124", "100")),
        *("HL*4*2*23*0", "PAT*19", "NM1*QC*1*DOE*JACK", "CLM*A2*100***11:B:1*Y*A*Y*Y", *served(1, "97124", "100")),
    ]
    found = submitted(subscriber, dependants, sent("A3*100***11:B:1*Y*A*Y*Y", *served(1, "97124", "100"), payer="P3"))
    assert placed(found) == [("A1", "P1", 2, "M1"), ("A2", "P1", 2, "M1"), ("A3", "P3", 1, "MEM0001")]


@pytest.mark.parametrize("lined", [True, False], ids=["with lines", "without lines"])
@pytest.mark.parametrize("billing", [True, False], ids=["another clinic", "the same clinic"])
def test_where_hl_is_left_out_a_subscriber_ends_the_claim_before(lined: bool, billing: bool) -> None:
    """Some files have no HL at all: the next clinic's or subscriber's name is what begins anew."""
    told = []
    for number in (1, 2, 3):
        clinic = (f"NM1*85*2*CLINIC {number}*****XX*1234567893",) if billing or number == 1 else ()
        who = (f"NM1*IL*1*DOE*JANE****MI*M{number}", f"NM1*PR*2*PLAN*****PI*P{number}")
        told += [*clinic, *who, f"CLM*A{number}*100***11:B:1*Y*A*Y*Y", *(served(1, "97124", "100") if lined else ())]
    found = read(file(*interchange(transaction("837", "BHT*0019*00*1*20260602*1200*CH", *told))), patient_key=KEY)
    assert placed(found) == [("A1", "P1", 1, "M1"), ("A2", "P2", 1, "M2"), ("A3", "P3", 1, "M3")]


def test_where_hl_is_left_out_a_rank_after_the_lines_is_the_next_subscribers() -> None:
    """SBR behind a claim's lines begins the next subscriber; before them it is another payer of the claim."""
    told = []
    for number, rank in ((1, "P"), (2, "S")):
        who = (f"SBR*{rank}*18*******CI", f"NM1*IL*1*DOE*JANE****MI*M{number}", f"NM1*PR*2*PLAN*****PI*P{number}")
        other = ("SBR*T*18*******CI", "NM1*IL*1*ROE*RICHARD****MI*M9", "NM1*PR*2*OTHER*****PI*P9")
        told += [*who, f"CLM*A{number}*100***11:B:1*Y*A*Y*Y", *other, *served(1, "97124", "100")]
    found = read(file(*interchange(transaction("837", "BHT*0019*00*1*20260602*1200*CH", *told))), patient_key=KEY)
    assert placed(found) == [("A1", "P1", 1, "M1"), ("A2", "P2", 2, "M2")]


def test_other_payers_of_a_claim_say_nothing_of_it() -> None:
    """What stands in another payer's loop, its names, its rank and its REF*F8, is not taken for the claim's own."""
    other = (
        *("SBR*P*18*******CI", "AMT*D*20", "OI***Y***Y", "NM1*IL*1*ROE*RICHARD****MI*OTHER9"),
        *("NM1*PR*2*OTHER*****PI*P9", "REF*F8*ICN-OF-OTHER", "NM1*85*2*OTHER CLINIC"),
    )
    lines = (*served(1, "97124", "100"), "SVD*P9*20*HC:97124**1", "CAS*CO*45*80", "REF*F8*ICN-OF-LINE")
    clm = "A1*100***11:B:7*Y*A*Y*Y"
    found = submitted(sent(clm, "REF*F8*ICN1", "NM1*82*1*ROE*RUTH****XX*1234567893", *other, *lines, rank="S"))
    assert placed(found) == [("A1", "87726", 2, "MEM0001")]
    assert data(found)[0]["payer_claim_number"] == "ICN1"
    assert [rule for _, rule in refusals(submitted(sent(clm, *other, *lines)))] == [
        "$.data.payer_claim_number: required on kind replacement"
    ]


def test_the_same_batch_is_the_same_submissions() -> None:
    """Control numbers, day of the envelope and spelling are no part of a submission: read again it is no other."""
    first = read(file(*interchange(batch(CLAIM))))
    spelled = (*CLAIM[:4], CLAIM[4].replace("*100*", "*100.00*"), CLAIM[5], "SV1*HC:97124*0100.0*UN*1.0***1", CLAIM[7])
    again = file(
        *interchange(batch(spelled, control="0777"), day="20260701", clock="0101", group="9", control="000000077"),
        element="|",
        terminator="'",
        after="\r\n",
    )
    assert events(first) == events(read(again))


def test_another_batch_is_other_submissions() -> None:
    """A claim sent again in another batch, or at another time, is another submission of the same claim."""
    batches = [{}, {"number": "BATCH2"}, {"day": "20260603"}, {"clock": "1158"}]
    told = [event for how in batches for event in events(read(file(*interchange(batch(CLAIM, **how)))))]
    assert {event["subject"] for event in told} == {"A1"}
    assert len({event["id"] for event in told}) == len({event["data"]["submission_id"] for event in told}) == 4


@pytest.mark.parametrize(
    "other",
    [
        sent("A1*100***11:B:1*Y*A*Y*Y", *served(1, "97124", "100"), rank="S"),
        sent("A1*100***11:B:1*Y*A*Y*Y", *served(1, "97124", "100"), payer="60054"),
        sent("A1*100***11:B:7*Y*A*Y*Y", "REF*F8*ICN1", *served(1, "97124", "100")),
        sent("A1*90***11:B:1*Y*A*Y*Y", *served(1, "97124", "100")),
        sent("A1*100***11:B:1*Y*A*Y*Y", *served(1, "97140", "100")),
        sent("A1*100***11:B:1*Y*A*Y*Y", *served(1, "97124", "100", day="20260531")),
        sent("A1*100***11:B:1*Y*A*Y*Y", *served(1, "97124", "60"), *served(2, "97124", "40")),
    ],
    ids=["rank", "payer", "kind", "charge", "procedure", "day of service", "lines"],
)
def test_a_claim_of_other_content_is_another_submission(other: tuple[str, ...]) -> None:
    """A batch number that a program never changes names nothing: what a claim says tells its submissions apart."""
    first, second = events(submitted(CLAIM)), events(submitted(other))
    assert [len(first), len(second)] == [1, 1]
    assert first[0]["id"] != second[0]["id"]
    assert first[0]["data"]["submission_id"] != second[0]["data"]["submission_id"]


@pytest.mark.parametrize(
    ("lines", "expected", "told"),
    [
        (("SV1*HC:97124*60*UN*1", "SV1*HC:97140*40*UN*1"), [("1", "97124"), ("2", "97140")], []),
        (("LX*1", "SV1**60*UN*1", "LX*2", "SV1*HC:97140*40"), [("1", "unknown"), ("2", "97140")], ["no_procedure"]),
    ],
    ids=["without LX", "without a procedure"],
)
def test_incomplete_lines_are_lines(lines: tuple[str, ...], expected: list[tuple[str, str]], told: list[str]) -> None:
    """A line without its number goes by its place, one without a procedure is told as unknown."""
    found = submitted(sent("A1*100***11:B:1*Y*A*Y*Y", *lines))
    [submission] = data(found)
    assert [(line["line"], line["code"]) for line in submission["lines"]] == expected
    assert findings(found) == told


def test_a_claim_to_nobody_is_refused() -> None:
    """Where neither payer nor receiver nor envelope says to whom a claim goes, it goes to no one."""
    segments = (each for each in batch(CLAIM) if not each.startswith(("NM1*40", "NM1*PR")))
    found = read(file(*interchange(tuple(segments), receiver="")))
    assert (events(found), [rule for _, rule in refusals(found)]) == (
        [],
        ["CLM01: no payer: neither NM1*PR nor NM1*40 nor GS03 names one"],
    )


def test_a_claim_that_a_batch_holds_twice_was_sent_twice() -> None:
    """Equal claims of one batch are told apart, so that neither is taken for the other read again."""
    first, second = events(submitted(CLAIM, CLAIM))
    assert second["id"] == f"{first['id']}-2"


def test_a_long_batch_number_leaves_room() -> None:
    """A submission id is never longer than the contract has room for, and still tells its submissions apart."""
    told = data(read(file(*interchange(batch(CLAIM, CLAIM[:4] + sent("A2*5***11:B:1")[4:], number="N" * 60)))))
    ids = [each["submission_id"] for each in told]
    assert [len(each) for each in ids] == [63, 63]
    assert len(set(ids)) == 2


@pytest.mark.parametrize(
    ("zone", "day", "clock", "time"),
    [
        ("America/New_York", "20260115", "0930", "2026-01-15T09:30:00-05:00"),
        ("America/New_York", "20260715", "0930", "2026-07-15T09:30:00-04:00"),
        ("America/Los_Angeles", "20260715", "093015", "2026-07-15T09:30:15-07:00"),
        ("America/Phoenix", "20260715", "09301599", "2026-07-15T09:30:15-07:00"),
        ("UTC", "20260715", "2359", "2026-07-15T23:59:00Z"),
        ("America/New_York", "20261101", "0130", "2026-11-01T01:30:00-04:00"),
        ("America/New_York", "20260308", "0230", "2026-03-08T02:30:00-05:00"),
        ("America/New_York", "20260715", "", "2026-07-15T00:00:00Z"),
        ("America/New_York", "20260715", "2460", "2026-07-15T00:00:00Z"),
    ],
)
def test_a_time_of_day_is_one_of_the_zone(zone: str, day: str, clock: str, time: str) -> None:
    """BHT05 has no zone, so it is read in the one that is set, summer time and all; a day alone begins in UTC."""
    [event] = events(read(file(*interchange(batch(CLAIM, day=day, clock=clock))), zone=zone))
    assert event["time"] == time


def test_a_day_that_is_none_gives_way_to_the_envelopes() -> None:
    """Where BHT04 is no date the envelope's day is told, and that it is; where neither is, the claim is refused."""
    found = read(file(*interchange(batch(CLAIM, day="20260231"), day="20260604", clock="0815")))
    assert ([event["time"] for event in events(found)], findings(found)) == (
        ["2026-06-04T08:15:00-04:00"],
        ["bad_date"],
    )
    neither = read(file(*interchange(batch(CLAIM, day="20260231"), day="20991301")))
    assert [rule for _, rule in refusals(neither)] == [
        "CLM01: neither BHT04 nor GS04 is a date, so nobody knows when this was sent"
    ]


def test_a_member_is_the_same_in_claim_and_remittance() -> None:
    """With a key the patient's number becomes one reference, whatever file it stands in and however it is spaced."""
    claim = read(file(*interchange(batch(sent(*CLAIM[4].split("*", 1)[1:], member="abc 12 34")))), patient_key=KEY)
    paid = read(
        file(*interchange(remittance(decided("A1*1*100*80", "NM1*QC*1*DOE*JANE****MI*ABC1234", "CAS*CO*45*20")))),
        patient_key=KEY,
    )
    [[one], [other]] = events(claim), events(paid)
    assert one["patientref"] == other["patientref"]


def submitted(*claims: tuple[str, ...] | list[str]) -> list[Item]:
    """Return what a file holds that is an 837 of these claims; members become references."""
    return read(file(*interchange(batch(*claims))), patient_key=KEY)


def placed(found: list[Item]) -> list[tuple[str, str, int, str | None]]:
    """Return claim, payer, rank and member of each event, the member as the test wrote it."""
    members = ["M1", "M2", "M3", "M9", "MEM0001", "OTHER9"]
    references = {reference_of(member): member for member in members}
    return [
        (
            event["subject"],
            event["data"]["payer_id"],
            event["data"]["payer_rank"],
            references[event["patientref"]] if "patientref" in event else None,
        )
        for event in events(found)
    ]


def reference_of(member: str) -> str:
    """Return the reference that a plain claim of this member is published with."""
    [event] = events(submitted(sent("A1*0***11:B:1", member=member)))
    return str(event["patientref"])
