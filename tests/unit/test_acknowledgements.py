"""What comes back before the decision: 999, 277CA and 277 acknowledge, reject, pend or ask, claim by claim."""

from itertools import pairwise
from pathlib import Path

import pytest

from services.intake.facts import Unpublished
from services.intake.files import Item, items
from services.intake.sent import Sent
from tests.x12_files import (
    acknowledged,
    batch,
    data,
    events,
    file,
    findings,
    interchange,
    of,
    read,
    reading,
    refusals,
    sent,
    served,
    transaction,
)

KEY = b"a key of this test"
CLINIC, HOUSE = {"sender": "CLINIC", "receiver": "HOUSE"}, {"sender": "HOUSE", "receiver": "CLINIC"}
RECEIVER = ("HL*2*1*21*1", "NM1*41*2*CLINIC*****46*SUBMITTER")
PROVIDER = ("HL*3*2*19*1", "NM1*85*2*CLINIC*****XX*1234567893")


def claim(claim_id: str, *stc: str, patient: str = "MI*MEM0001") -> tuple[str, ...]:
    """A claim of a 277CA: its patient, TRN02 and what is said of it."""
    return ("HL*4*3*PT", f"NM1*QC*1*DOE*JANE****{patient}".rstrip("*"), f"TRN*2*{claim_id}", *stc)


@pytest.mark.parametrize(
    ("category", "response"),
    [
        *((each, "acknowledged") for each in ("A0", "A1")),
        ("A2", "accepted"),
        *((each, "rejected") for each in ("A3", "A6", "A7", "A8")),
        *((f"P{number}", "pended") for number in range(6)),
        *((f"R{number}", "information_requested") for number in range(18)),
    ],
)
def test_the_category_tells_what_was_answered(category: str, response: str) -> None:
    """Each category of X12's list 507 that moves a claim is one response, with the status as the payer gave it."""
    found = answered(*claim("A1", f"STC*{category}:20:PR*20260603*WQ*100", "REF*1K*ICN1"))
    assert data(found) == [
        {
            "response": response,
            "sender": "payer",
            "payer_id": "87726",
            "payer_claim_number": "ICN1",
            "statuses": [{"category": category, "code": "20", "entity": "PR"}],
        }
    ]
    assert [event["subject"] for event in events(found)] == ["A1"]


@pytest.mark.parametrize(
    ("category", "why"),
    [
        *((f"F{number}", "advice: the 835 decides") for number in range(5)),
        *((each, "no step of a claim") for each in ("A4", "A5", "D0", "E0", "E1", "E2", "E3", "E4")),
    ],
)
def test_what_moves_no_claim_is_told_and_not_published(category: str, why: str) -> None:
    """A finalized status only announces the remittance, and not found, split or in error is no step at all."""
    found = answered(*claim("A1", f"STC*{category}:3*20260603"))
    assert events(found) == []
    assert [(each.claim_id, each.said, each.why) for each in of(Unpublished, found)] == [
        ("A1", f"277 {category}:3", why)
    ]


@pytest.mark.parametrize(
    ("stc", "rule"),
    [
        ("STC*A9:20*20260603", "STC01: the category (component 1) is one of X12's list 507: A, P, F, R, E or D"),
        ("STC*A3*20260603", "STC01: the status (component 2) is required"),
        ("STC**20260603", "STC01: required"),
    ],
)
def test_a_status_that_no_list_has_is_refused_alone(stc: str, rule: str) -> None:
    """A claim whose status cannot be read is refused by its segment; its neighbours are read."""
    found = answered(*claim("A1", stc), *claim("A2", "STC*A2:20*20260603"))
    assert ([event["subject"] for event in events(found)], refusals(found)) == (["A2"], [(12, rule)])


@pytest.mark.parametrize(
    ("stc", "response"),
    [
        (("STC*A1:19*20260603*WQ*100*******A3:21",), "rejected"),
        (("STC*A3:21*20260603*U*100******A1:19*P1:20",), "rejected"),
        (("STC*A1:19*20260603", "STC*A2:20*20260603"), "accepted"),
        (("STC*P1:20*20260603*********R4:1",), "information_requested"),
        (("STC*A2:20*20260603*WQ*100", "SVC*HC:97124*100", "STC*A7:562*20260603*U*100"), "rejected"),
        (("SVC*HC:97124*100", "STC*A1:19*20260603", "SVC*HC:97140*100", "STC*A7:562*20260603*U*100"), "rejected"),
    ],
    ids=[
        *(
            "in the second composite",
            "in the first",
            "in two segments",
            "asked for",
            "one bad line of an accepted claim",
        ),
        "one bad line of a claim without a word of its own",
    ],
)
def test_the_gravest_status_is_the_answer(stc: tuple[str, ...], response: str) -> None:
    """A claim with several statuses is rejected by one of them, and by one of its lines."""
    found = answered(*claim("A1", *stc))
    assert [each["response"] for each in data(found)] == [response]
    codes = [part for segment in stc if segment.startswith("STC") for part in segment.split("*")[1:] if ":" in part]
    assert [f"{each['category']}:{each['code']}" for each in data(found)[0]["statuses"]] == codes


@pytest.mark.parametrize(("source", "sender"), [("PR", "payer"), ("AY", "clearinghouse")])
def test_who_answers_is_told(source: str, sender: str) -> None:
    """A clearinghouse's acceptance is not the payer's: the information source says which of them it is."""
    found = read(file(*interchange(acknowledged(*RECEIVER, *claim("A1", "STC*A2:20*20260603"), source=source))))
    assert [each["sender"] for each in data(found)] == [sender]


def test_an_acceptance_tells_the_day_of_receipt() -> None:
    """The receiver's own date (DTP*050) is when the payer had the claim; only an acceptance carries it."""
    loops = (*RECEIVER, "DTP*050*D8*20260602")
    accepted = read(file(*interchange(acknowledged(*loops, *claim("A1", "STC*A2:20*20260603")))))
    rejected = read(file(*interchange(acknowledged(*loops, *claim("A1", "STC*A3:21*20260603")))))
    assert [each.get("received_on") for each in data(accepted) + data(rejected)] == ["2026-06-02", None]


@pytest.mark.parametrize(
    ("version", "segments", "claim_id", "told"),
    [
        ("005010X214", ("TRN*2*A1", "STC*P1:20*20260603", "REF*EJ*A9"), "A1", []),
        ("005010X212", ("TRN*2*INQUIRY", "STC*P1:20*20260603", "REF*EJ*A1"), "A1", []),
        ("005010X212", ("TRN*2*A1", "STC*P1:20*20260603"), "A1", ["trace_as_claim_id"]),
        ("005010X212", ("TRN*2*A1", "STC*P1:20*20260603", "SVC*HC:97124*5", "REF*EJ*L1"), "A1", ["trace_as_claim_id"]),
    ],
)
def test_each_kind_names_the_claim_in_its_own_place(
    version: str, segments: tuple[str, ...], claim_id: str, told: list[str]
) -> None:
    """A 277CA gives CLM01 back as its trace; in a 277 the trace is the inquiry's, and REF*EJ names the claim."""
    loops = ("HL*1**20*1", "NM1*PR*2*PLAN*****PI*87726", "HL*4*1*22*0", *segments)
    found = read(file(*interchange(transaction("277", "BHT*0010*08*1*20260603*0930*DG", *loops, version=version))))
    assert ([event["subject"] for event in events(found)], findings(found)) == ([claim_id], told)


def test_a_patient_without_a_number_is_no_earlier_patient() -> None:
    """The reference of a claim's patient is of its own number; where it has none there is none."""
    found = read(
        file(
            *interchange(
                acknowledged(
                    *RECEIVER,
                    *claim("A1", "STC*A2:20*20260603"),
                    *claim("A2", "STC*A2:20*20260603", patient=""),
                    *claim("A3", "STC*A2:20*20260603"),
                )
            )
        ),
        patient_key=KEY,
    )
    first, second, third = events(found)
    assert "patientref" not in second
    assert first["patientref"] == third["patientref"]


def test_a_dependant_goes_by_the_subscribers_number() -> None:
    """Below the subscriber's HL a dependant's claim has the subscriber's number, as in the 837 that sent it."""
    loops = (
        *("HL*4*3*22*1", "NM1*IL*1*DOE*JANE****MI*MEM0001", "HL*5*4*23*0", "NM1*QC*1*DOE*JUNE"),
        *("TRN*2*A1", "STC*A2:20*20260603", "HL*6*3*22*0", "NM1*IL*1*ROE*RUTH****MI*MEM0002", "TRN*2*A2"),
        "STC*A2:20*20260603",
    )
    found = read(file(*interchange(acknowledged(*loops))), patient_key=KEY)
    original = read(file(*interchange(batch(sent("A1*0***11:B:1")))), patient_key=KEY)
    assert events(found)[0]["patientref"] == events(original)[0]["patientref"] != events(found)[1]["patientref"]


@pytest.mark.parametrize(
    ("zone", "stc_day", "time"),
    [
        ("America/New_York", "20260603", "2026-06-03T09:30:00-04:00"),
        ("America/Los_Angeles", "20260603", "2026-06-03T09:30:00-07:00"),
        ("America/New_York", "20260602", "2026-06-03T09:30:00-04:00"),
        ("America/New_York", "", "2026-06-03T09:30:00-04:00"),
    ],
)
def test_a_277ca_knows_its_time_of_day(zone: str, stc_day: str, time: str) -> None:
    """What a 277CA says it says when it is written, in the zone that is set, whatever day its statuses name."""
    found = read(file(*interchange(acknowledged(*RECEIVER, *claim("A1", f"STC*A2:20*{stc_day}")))), zone=zone)
    assert [event["time"] for event in events(found)] == [time]


def test_the_same_answer_is_the_same_and_another_day_is_another() -> None:
    """An acknowledgement read again, with other control numbers, is known; what is said on another day is new."""
    ids = []
    for day, control in (("20260603", "0001"), ("20260603", "0777"), ("20260604", "0001")):
        text = acknowledged(*RECEIVER, *claim("A1", f"STC*A2:20*{day}"), day=day)
        ids += [
            event["id"]
            for event in events(read(file(*interchange(text, control=f"00000{control}", group=control), after="")))
        ]
    assert ids[0] == ids[1] != ids[2]


def test_a_batch_that_is_rejected_rejects_each_of_its_claims() -> None:
    """A rejection above the claims names the batch: its 837 says which claims those are, and who was to pay them."""
    text = file(*interchange(batch(*submissions("A1", "A2")), **CLINIC))
    rejection = acknowledged(*RECEIVER, "TRN*2*BATCH1", "STC*A3:24:41*20260603*U*200", source="AY")
    answer = file(*interchange(rejection, day="20260603", **HOUSE))
    found = read(answer, text)
    of_837 = {event["subject"]: event["data"]["submission_id"] for event in events(read(text))}
    assert [(event["subject"], event["data"]["response"]) for event in events(found)] == [
        ("A1", "rejected"),
        ("A2", "rejected"),
    ]
    for event in events(found):
        assert event["data"]["submission_id"] == of_837[event["subject"]]
        assert (event["data"]["payer_id"], event["data"]["payer_rank"]) == ("87726", 1)
        assert event["data"]["sender"] == "clearinghouse"
    unknown = read(answer)
    assert events(unknown) == []
    assert [rule for _, rule in refusals(unknown)] == [
        "STC01: a batch is rejected that was not read: read its 837 first, then this again"
    ]


def test_a_batch_that_is_accepted_accepts_no_claim() -> None:
    """Receipt of a batch is told and moves nothing: each claim has its own status."""
    found = answered("TRN*2*BATCH1", "STC*A1:19:PR*20260603*WQ*200", *PROVIDER, *claim("A1", "STC*A2:20*20260603"))
    assert [event["subject"] for event in events(found)] == ["A1"]
    assert [(each.claim_id, each.said) for each in of(Unpublished, found)] == [("", "277 A1:19")]


@pytest.mark.parametrize(
    ("kind", "end", "response", "code"),
    [
        ("999", "IK5*A", "acknowledged", "A"),
        ("999", "IK5*E*5", "acknowledged", "5"),
        ("999", "IK5*R*5", "rejected", "5"),
        ("999", "IK5*M*I5", "rejected", "I5"),
        ("999", "IK5*W", "rejected", "W"),
        ("999", "IK5*X", "rejected", "X"),
        ("997", "AK5*A", "acknowledged", "A"),
        ("997", "AK5*R*5", "rejected", "5"),
    ],
)
def test_a_set_that_is_answered_answers_each_of_its_claims(kind: str, end: str, response: str, code: str) -> None:
    """A 999 or 997 accepts or refuses a whole set: each claim of it is acknowledged, or rejected and back in draft."""
    segments = ("AK1*HC*1*005010X222A1", "AK2*837*0001", "IK3*CLM*22**8", end, "AK9*A*1*1*1")
    found = syntax(*segments, kind=kind, sets=1)
    assert [(event["subject"], event["source"], event["time"]) for event in events(found)] == [
        (claim_id, "/x12/999", "2026-06-03T12:00:00-04:00") for claim_id in ("A1", "A2")
    ]
    for each in data(found):
        assert (each["response"], each["sender"]) == (response, "clearinghouse")
        assert each["statuses"] == [{"category": "999", "code": code}]
        assert (each["payer_id"], each["payer_rank"]) == ("87726", 1)


@pytest.mark.parametrize(
    ("segments", "expected"),
    [
        (("AK9*A*2*2*2",), {"A1": "acknowledged", "A2": "acknowledged", "B1": "acknowledged"}),
        (("AK9*R*2*2*0*2",), {"A1": "rejected", "A2": "rejected", "B1": "rejected"}),
        (
            ("AK2*837*0001", "IK5*R*5", "AK9*P*2*2*1"),
            {"A1": "rejected", "A2": "rejected", "B1": "acknowledged"},
        ),
        (
            ("AK2*837*0002", "IK5*R*5", "AK2*837*0001", "IK5*A", "AK9*P*2*2*1"),
            {"A1": "acknowledged", "A2": "acknowledged", "B1": "rejected"},
        ),
        (("AK2*837*0001", "AK9*A*2*2*2"), {"A1": "acknowledged", "A2": "acknowledged", "B1": "acknowledged"}),
    ],
    ids=["group accepted", "group refused", "one refused, others not named", "both named", "named without a verdict"],
)
def test_a_group_answers_the_sets_that_are_not_named(segments: tuple[str, ...], expected: dict[str, str]) -> None:
    """What AK9 says of the group holds for each set that has no verdict of its own; in part means: the rest passed."""
    found = syntax("AK1*HC*1*005010X222A1", *segments)
    assert {event["subject"]: event["data"]["response"] for event in events(found)} == expected
    assert len(events(found)) == len(expected)


@pytest.mark.parametrize(
    ("segments", "rule"),
    [
        (("AK1*HC*2", "AK9*A*1*1*1"), "AK102: no group of this number was read"),
        (("AK1*HC*2", "AK2*837*0001", "IK5*R", "AK9*R*1*1*0"), "AK102: no set of this number was read"),
        (("AK1*HC*1", "AK2*837*0009", "IK5*R", "AK9*P*1*1*0"), "AK102: no set of this number was read"),
        (("AK1*HC*1", "AK2*837*0001", "IK5*Q", "AK9*P*1*1*0"), "IK501: A or E accepted"),
        (("AK1*HC*1", "AK2*837*0001", "IK5", "AK9*P*1*1*0"), "IK501: required"),
        (("AK9*A*1*1*1",), "AK1: required in a 999"),
    ],
)
def test_an_answer_to_what_is_not_known_is_refused(segments: tuple[str, ...], rule: str) -> None:
    """What no 837 of this run or an earlier one was the question to is told, so that nobody waits for it."""
    assert rule in [told[: len(rule)] for _, told in refusals(syntax(*segments))]


def test_answers_to_other_things_than_claims_are_passed_over() -> None:
    """A 999 of an eligibility request, or a set of another kind within one, says nothing of a claim."""
    assert syntax("AK1*HS*1*005010X279A1", "AK2*270*0001", "IK5*R*5", "AK9*R*1*1*0") == []
    assert syntax("AK1*HC*1*005010X222A1", "AK2*276*0009", "IK5*R*5", "AK2*837*0001", "IK5*A")[1:] != []


def test_control_numbers_that_come_round_again_mean_the_last() -> None:
    """A set is the last one sent under its numbers by the day of the answer, never one that was sent before it."""
    texts = [
        file(*interchange(batch(*submissions("OLD1"), number="B1", day="20260101"), day="20260101", **CLINIC)),
        file(*interchange(batch(*submissions("NEW1"), number="B2", day="20260601"), day="20260601", **CLINIC)),
        file(*interchange(batch(*submissions("YOUNG1"), number="B3", day="20260801"), day="20260801", **CLINIC)),
    ]
    refused = transaction("999", "AK1*HC*1", "AK2*837*0001", "IK5*R*5", "AK9*R*1*1*0")
    for day, claim_id in (("20260102", "OLD1"), ("20260601", "NEW1"), ("20260620", "NEW1"), ("20260801", "YOUNG1")):
        found = read(file(*interchange(refused, day=day, **HOUSE)), *texts)
        assert [event["subject"] for event in events(found)] == [claim_id], day


def test_a_group_number_that_comes_round_again_means_the_last_group() -> None:
    """A verdict on a group never reaches a set of an earlier group that had its number."""
    earlier = (batch(*submissions("OLD1")), batch(*submissions("OLD2"), control="0002"))
    texts = [
        file(*interchange(*earlier, day="20260101", **CLINIC)),
        file(*interchange(batch(*submissions("NEW1"), number="B2"), day="20260601", **CLINIC)),
    ]
    refused = transaction("999", "AK1*HC*1", "AK9*R*1*1*0")
    found = read(file(*interchange(refused, day="20260602", **HOUSE)), *texts)
    assert [event["subject"] for event in events(found)] == ["NEW1"]


def test_what_was_sent_is_remembered_beside_the_other_data(tmp_path: Path) -> None:
    """A later run knows what an earlier one read: an answer may come days after its question."""
    memory = tmp_path / "new" / "sent.sqlite"
    refused = file(*interchange(transaction("999", "AK1*HC*1", "AK2*837*0001", "IK5*R*5", "AK9*R"), **HOUSE))
    told = []
    for text in (file(*interchange(batch(*submissions("A1")), **CLINIC)), refused, refused):
        remembered = Sent(memory)
        with reading(remembered=remembered) as how:
            told.append(events(items([text], how)))
        remembered.close()
    assert [[event["data"].get("response") for event in each] for each in told] == [[None], ["rejected"], ["rejected"]]
    assert all(one == other for one, other in pairwise(told[1:]))


def test_a_claim_that_was_refused_here_was_not_sent() -> None:
    """What could not be published is not remembered either: no answer is given to a claim that nobody knows of."""
    bad = sent("A1*100***11:B:7*Y*A*Y*Y", *served(1, "97124", "100"))
    text = file(*interchange(batch(bad, *submissions("A2")), **CLINIC))
    answer = file(*interchange(transaction("999", "AK1*HC*1", "AK9*R*1*1*0"), **HOUSE))
    assert [event["subject"] for event in events(read(answer, text))] == ["A2"]


@pytest.mark.parametrize("kind", ["999", "277"])
def test_a_cut_answer_says_nothing_that_the_whole_does_not(kind: str) -> None:
    """Wherever an answer is cut, what it publishes are the first events of the whole answer."""
    question = file(*interchange(batch(*submissions("A1", "A2")), batch(*submissions("B1"), control="0002"), **CLINIC))
    sets = {
        "999": transaction("999", "AK1*HC*1", "AK2*837*0001", "IK3*CLM*22**8", "IK5*E*5", "AK9*P*2*2*1"),
        "277": acknowledged(
            *(*RECEIVER, *claim("A1", "STC*A1:19*20260603", "STC*A7:562*20260603*U*100", "REF*1K*ICN1")),
            *claim("A2", "STC*A2:20*20260603", "REF*1K*ICN2", "SVC*HC:97124*5", "STC*A2:20*20260603"),
        ),
    }
    text = file(*interchange(sets[kind], **HOUSE))
    with reading() as how:
        list(items([question], how))
        complete = events(items([text], how))
        for length in range(len(text)):
            published = events(items([text[:length]], how))
            assert published == complete[: len(published)], text[:length][-60:]
    assert len(complete) == {"999": 3, "277": 2}[kind]


def answered(*loops: str) -> list[Item]:
    """Return what a 277CA holds whose segments below the receiver these are."""
    return read(file(*interchange(acknowledged(*RECEIVER, *loops))))


def submissions(*claim_ids: str) -> list[tuple[str, ...]]:
    """Return plain claims of an 837."""
    return [sent(f"{each}*100***11:B:1*Y*A*Y*Y", *served(1, "97124", "100")) for each in claim_ids]


def syntax(*segments: str, kind: str = "999", sets: int = 2) -> list[Item]:
    """Return what a 999 or 997 says after an 837 of these sets was read: A1 and A2 in the first, B1 in the second."""
    both = batch(*submissions("A1", "A2")), batch(*submissions("B1"), control="0002")
    question = file(*interchange(*both[:sets], **CLINIC))
    return read(file(*interchange(transaction(kind, *segments), day="20260603", **HOUSE)), question)
