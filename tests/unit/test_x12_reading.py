"""Bytes to transaction sets: however a file is cut up, wrapped or cut short, no claim of it comes out wrong."""

import json
from collections.abc import Callable, Iterator
from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.intake.facts import Refused, Remark, Remittance
from services.intake.files import Publishable, items
from services.intake.segments import BareTransactions, Segment, Unreadable, segments
from tests.x12_files import (
    batch,
    chunks,
    decided,
    events,
    file,
    findings,
    interchange,
    of,
    read,
    reading,
    refusals,
    remittance,
    sent,
    served,
)

# Claims that would still balance, or still add up, where what follows their money is cut away.
PAID = interchange(
    remittance(
        decided("A1*1*100*80*20*12*ICN1", "NM1*QC*1*DOE*JANE****MI*MEM0001", "CAS*PR*3*20", "MOA***MA01"),
        decided(
            *("A2*1*200*150**12*ICN2", "SVC*HC:97124*120*90**4", "CAS*CO*45*30", "REF*6R*L1", "AMT*B6*95", "LQ*HE*N1"),
            *("SVC*HC:97140*80*60**2", "CAS*CO*45*20", "REF*6R*L2", "AMT*B6*65", "LQ*HE*N2"),
        ),
        decided("A3*4*50*0**12*ICN3", "SVC*HC:97124*50*0", "CAS*CO*16*50", "LQ*HE*MA130"),
        decided("A4*1*70*70**12*ICN4", "SVC*HC:97124*70*70", "REF*6R*L9", "DTM*472*20260501"),
        total="297",
        plb=("PLB*1234567893*20261231*WO:A1*1*FB*2",),
    )
)
SENT = interchange(
    batch(
        sent("A1*100***11:B:1*Y*A*Y*Y", "REF*D9*1", *served(1, "97124", "60"), *served(2, "97140", "40", control="L2")),
        sent("A2*50***11:B:7*Y*A*Y*Y", "REF*F8*ICN9", *served(1, "97124", "50"), rank="S"),
        sent("A3*0***11:B:1*Y*A*Y*Y", *served(1, "97124", "0"), member="MEM0003"),
        sent("A4*70***11:B:8*Y*A*Y*Y", "REF*F8*ICN8", *served(1, "97124", "70", control="L1"), payer="60054"),
    )
)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 53, 105, 106, 107, 211, 212, 213, 1000, 100_000])
@pytest.mark.parametrize("text", [file(*PAID), file(*SENT)], ids=["835", "837"])
def test_any_chunks_give_the_same(text: bytes, size: int) -> None:
    """How the bytes arrive says nothing about what they are."""
    with reading() as how:
        found = list(items(chunks(text, size), how))
    assert found == read(text)
    assert len(events(found)) == 4


@pytest.mark.parametrize("whole", [PAID, SENT], ids=["835", "837"])
@pytest.mark.parametrize(
    "spelled",
    [
        lambda whole: file(*whole, after=""),
        lambda whole: file(*whole, after="\r\n"),
        lambda whole: file(*whole, terminator="\n", after=""),
        lambda whole: file(*whole, terminator="\r\n", after=""),
        lambda whole: file(*whole, element="|", component="\\", terminator="\x1c"),
        lambda whole: file(*whole, element="\x1d", component="\x1f", terminator="\x1c", after=""),
        lambda whole: b"\xef\xbb\xbf" + file(*whole),
        lambda whole: b"\xef\xbb\xbf\r\n\r\n" + file(*whole),
        lambda whole: b" \r\n\t\0" + file(*whole) + b"\0" * 4096 + b"\x1a\r\n",
        lambda whole: file(*whole).rstrip(b"~\n"),
        lambda whole: file(*whole, after="~~\n~\n").rstrip(b"~\n"),
        lambda whole: file(*whole, after=" \n  "),
        lambda whole: wrapped(file(*whole, after=""), 80, b"\r\n"),
        lambda whole: wrapped(file(*whole, after=""), 80, b"\n"),
        lambda whole: wrapped(file(*whole, after=""), 72, b"\n"),
        lambda whole: wrapped(file(*whole, after=""), 10, b"\n"),
    ],
    ids=[
        *("one line", "CRLF", "LF ends segments", "CRLF ends segments", "other separators", "control characters"),
        *("BOM", "BOM and lines", "padding", "nothing ends the last", "empty segments", "blanks"),
        *("80 columns CRLF", "80 columns", "72 columns", "10 columns"),
    ],
)
def test_spelling_is_no_part_of_a_file(whole: tuple[str, ...], spelled: Callable[[tuple[str, ...]], bytes]) -> None:
    """Separators, line ends, wrapping at a column (through the ISA as well), padding and a BOM change nothing."""
    assert read(spelled(whole)) == read(file(*whole))
    assert refusals(read(file(*whole))) == []


def test_text_is_utf_8_or_else_latin_1() -> None:
    """A byte that cannot be UTF-8 is a character of Latin-1: no claim is lost for an accent."""
    text = file(*interchange(remittance(decided("MUÑOZ-1*1*100*80**12*ICN1", "NM1*QC*1*MUÑOZ", "CAS*CO*45*20"))))
    assert [event["subject"] for event in events(read(text))] == ["MUÑOZ-1"]
    assert events(read(text.decode().encode("latin-1"))) == events(read(text))


@pytest.mark.parametrize("whole", [PAID, SENT], ids=["835", "837"])
def test_a_cut_file_never_publishes_a_wrong_claim(whole: tuple[str, ...]) -> None:
    """Wherever a file is cut, what it publishes are the first events of the whole file; that it was cut is told."""
    text = file(*whole)
    with reading(patient_key=b"key") as how:
        complete = events(items([text], how))
        for length in range(len(text) - 1):
            found = list(items([text[:length]], how))
            published = events(found)
            assert published == complete[: len(published)], text[:length][-60:]
            told = refusals(found) or {"no_trailer", "wrong_count", "wrong_control_number"}.intersection(
                findings(found)
            )
            assert told or not length or text[length:] == b"~\n", text[:length][-60:]
    assert len(complete) == 4


def test_a_cut_remittance_is_not_balanced() -> None:
    """A payment whose file was cut is told, if at all, as one that does not add up, wherever the cut is."""
    for whole in (PAID, interchange(remittance(decided("A1*4*50*0", "CAS*CO*16*50"), total="0"))):
        text = file(*whole)
        end = text.index(b"SE*") + 2
        with reading() as how:
            for length in range(end):
                assert [each for each in of(Remittance, items([text[:length]], how)) if each.balanced] == []


@pytest.mark.parametrize("whole", [PAID, SENT], ids=["835", "837"])
def test_a_cut_file_with_another_behind_it_publishes_no_wrong_claim(whole: tuple[str, ...]) -> None:
    """A cut file that something glued to the next one is read as cut, and the next one as if it stood alone."""
    text = file(*whole)
    other = interchange(remittance(decided("B1*1*10*10")), control="000000009")
    with reading() as how:
        complete = events(items([text], how))
        alone = events(items([file(*other)], how))
        for length in range(106, len(text), 3):
            for behind in (file(*other), file(*other, terminator="'", element="|")):
                published = events(items([text[:length], behind], how))
                first = [event for event in published if not event["subject"].startswith("B")]
                assert first == complete[: len(first)], text[:length][-60:]
                if text[:length].endswith((b"~", b"\n")):
                    assert published[len(first) :] == alone, text[:length][-60:]


def test_a_cut_file_and_then_the_whole_add_up() -> None:
    """Reading the whole file after the cut one gives each event of it once more or for the first time, none other."""
    text = file(*PAID)
    cut, complete = events(read(text[: text.index(b"CLP*A3")])), events(read(text))
    assert [event["id"] for event in cut] == [event["id"] for event in complete[: len(cut)]]
    assert [event["subject"] for event in cut] == ["A1"]


@pytest.mark.parametrize(
    ("without", "told"),
    [
        (("IEA",), ["no_trailer"]),
        (("GE",), ["no_trailer"]),
        (("GE", "IEA"), ["no_trailer"]),
        (("SE",), ["no_trailer"]),
    ],
)
@pytest.mark.parametrize("whole", [PAID, SENT], ids=["835", "837"])
def test_trailers_that_are_left_out_are_findings(
    whole: tuple[str, ...], without: tuple[str, ...], told: list[str]
) -> None:
    """A file without some of its trailers is read to its end, and what is missing is told."""
    found = read(file(*(segment for segment in whole if segment.split("*")[0] not in without)))
    assert events(found) == events(read(file(*whole)))
    assert findings(found) == told


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("SE*32*0001", "SE*31*0001", [(34, "wrong_count")]),
        ("SE*32*0001", "SE*032*0001", []),
        ("SE*32*0001", "SE*32*0002", [(34, "wrong_control_number")]),
        ("SE*32*0001", "SE*1*1", [(34, "wrong_count"), (34, "wrong_control_number")]),
        ("GE*1*1", "GE*1*2", [(35, "wrong_control_number")]),
        ("GE*1*1", "GE*2*1", [(35, "wrong_count")]),
        ("IEA*1*000000001", "IEA*1*000000002", [(36, "wrong_control_number")]),
        ("IEA*1*000000001", "IEA*3*000000001", [(36, "wrong_count")]),
    ],
)
def test_counts_and_control_numbers_are_held_against_their_headers(
    old: str, new: str, told: list[tuple[int, str]]
) -> None:
    """A trailer that counts or numbers otherwise than its header is a finding where it stands, and nothing is lost."""
    text = file(*(new if segment == old else segment for segment in PAID))
    assert old in PAID
    found = read(text)
    assert [(each.number, each.finding) for each in of(Remark, found)] == told
    assert events(found) == events(read(file(*PAID)))


def test_interchanges_with_other_separators_follow_each_other() -> None:
    """Each ISA names its own separators, whether or not the interchange before it came to its end."""
    ours, theirs = file(*PAID), file(*SENT, element="|", component=">", terminator="'", after="\r\n")
    both = events(read(ours)) + events(read(theirs))
    assert events(read(ours + theirs)) == both
    assert events(read(ours + b"\0\0\r\n" + theirs)) == both
    without = file(*PAID[:-1])
    found = read(without + theirs)
    assert (events(found), findings(found)) == (both, ["no_trailer"])


def test_several_groups_and_sets_are_read_in_turn() -> None:
    """Sets of one group and groups of one interchange are each their own."""
    first, second = remittance(decided("A1*1*100*80")), remittance(decided("A2*1*100*80"), control="0002")
    isa, *group, iea = interchange(first, second)
    _, *other, _ = interchange(remittance(decided("A3*1*100*80")), group="2")
    found = read(file(isa, *group, *other, iea.replace("IEA*1", "IEA*2")))
    assert [event["subject"] for event in events(found)] == ["A1", "A2", "A3"]
    assert findings(found) == ["claim_balance", "claim_balance", "claim_balance"]


def test_a_set_without_envelope_is_read_and_told() -> None:
    """A bare set from ST to SE, as portals hand it out, is read; that nothing stands around it is a finding."""
    bare = remittance(decided("A1*1*100*80", "SVC*HC:97124*100*80", "CAS*CO*45*20"))
    for text in (file(*bare), file(*bare, terminator="\n", after=""), file(*bare, terminator="\r\n", after="")):
        found = read(text)
        assert [event["subject"] for event in events(found)] == ["A1"]
        assert [(each.number, each.finding) for each in of(Remark, found)] == [(1, "no_interchange")]
    assert isinstance(next(segments([file(*bare)])), BareTransactions)


def test_claims_need_no_header_number() -> None:
    """Payers leave out LX; a claim begins at CLP all the same."""
    found = read(file(*(segment for segment in PAID if not segment.startswith("LX"))))
    assert events(found) == events(read(file(*PAID)))
    assert findings(found) == ["wrong_count"]


@pytest.mark.parametrize(
    "garbage",
    [b"hello", b"ISA", b"ISA*", b"ISA*00*" + b"x" * 200, b"VISA" * 50, b"<html></html>", b"\xff\xfe\x00"],
)
def test_garbage_is_told_once_and_hides_nothing(garbage: bytes) -> None:
    """Bytes that are no interchange are refused where they stand, once, and every interchange is read."""
    text = file(*PAID)
    complete = events(read(text))
    rules = {
        "an interchange begins with ISA",
        "ISA has 16 elements at fixed places, 106 bytes in all, and separators that differ",
    }
    for where, found in (
        ("behind", read(text + garbage)),
        ("before", read(garbage + b"\n" + text)),
        ("between", read(text + garbage + b"\r\n" + text)),
    ):
        assert events(found) == complete * (2 if where == "between" else 1), where
        assert len(refusals(found)) == 1, where
        assert {rule for _, rule in refusals(found)} <= rules, where


@given(
    where=st.floats(0, 1),
    removed=st.integers(0, 200),
    put=st.one_of(
        st.binary(max_size=40), st.sampled_from([b"~", b"*", b"ISA", b"\0", b"\n", b"\xff", b"ST*835*1~", b"SE*"])
    ),
    size=st.integers(1, 500),
)
@pytest.mark.parametrize("text", [file(*PAID), file(*SENT)], ids=["835", "837"])
def test_no_bytes_make_it_raise(text: bytes, where: float, removed: int, put: bytes, size: int) -> None:
    """Whatever stands in a file, it is read to its end, and however it arrives it is read alike."""
    start = int(where * len(text))
    spoiled = text[:start] + put + text[start + removed :]
    with reading() as how:
        assert list(items(chunks(spoiled, size), how)) == list(items([spoiled], how))


@pytest.mark.parametrize("st_segment", ["ST*835*0001", "ST*835*0001*", "ST*835*0001*005010X221A1*"])
def test_a_bare_set_is_not_split_at_its_elements(st_segment: str) -> None:
    """What ends the first segment of a bare set is never what separates its elements, be the last of them empty."""
    _, *rest = remittance(decided("A1*1*100*80", "CAS*CO*45*20"))
    found = read(file(st_segment, *rest))
    assert [event["subject"] for event in events(found)] == ["A1"]
    assert (findings(found), refusals(found)) == (["no_interchange"], [])
    assert refusals(read(file("ST*835*", *rest))) == [(1, "an interchange begins with ISA")]


@pytest.mark.parametrize("bad", ["A2*1*many*80", "A2*1*100*", "*1*100*80", "A2**100*80", "A2*99*100*80"])
def test_a_broken_claim_takes_no_other_with_it(bad: str) -> None:
    """A claim that cannot be read is refused, and those before and behind it are published."""
    fine = [decided(f"A{number}*1*100*80", "CAS*CO*45*20") for number in (1, 3)]
    found = read(file(*interchange(remittance(fine[0], decided(bad, "CAS*CO*45*20"), fine[1], total="160"))))
    assert [event["subject"] for event in events(found)] == ["A1", "A3"]
    assert [number for number, _ in refusals(found)] == [12]


def test_a_refused_interchange_is_told_to_people() -> None:
    """TA1 says that a receiver refused all of an interchange; one that was accepted needs nobody."""
    isa, *_, iea = interchange()
    ta1 = "TA1*000000001*260601*1200*{}*{}"
    refused = read(file(isa, ta1.format("R", "022"), iea.replace("IEA*1", "IEA*0")))
    assert [(each.number, each.rule) for each in of(Refused, refused)] == [
        (2, "TA104: the receiver refused a whole interchange; send its claims again")
    ]
    for accepted in ("A", "E"):
        assert read(file(isa, ta1.format(accepted, "000"), iea.replace("IEA*1", "IEA*0"))) == []


def test_what_stands_between_sets_is_told() -> None:
    """A claim that slipped out of its set is not passed over in silence."""
    isa, gs, *rest = PAID
    found = read(file(isa, gs, "CLP*A0*1*100*80", *rest))
    assert refusals(found) == [(3, "between transaction sets only ISA, TA1, GS, ST, GE and IEA may stand")]
    assert events(found) == events(read(file(*PAID)))


def test_an_event_says_where_it_stood() -> None:
    """Beside the data stands its place in the file: control numbers and the number of the segment."""
    [first, *_] = of(Publishable, read(file(*interchange(remittance(decided("A1*1*100*80")), group="7"))))
    place = json.loads(first.record.value or b"")["x12place"]
    assert place == "ISA13=000000001 GS06=7 ST02=0001 segment=10"


def test_reading_starts_before_the_file_has_ended() -> None:
    """Claims come out while the file still comes in: nothing waits for its end."""
    claims = [decided(f"A{number}*1*100*80", "CAS*CO*45*20") for number in range(2000)]
    text = file(*interchange(remittance(*claims)))
    taken = 0

    def arriving() -> Iterator[bytes]:
        nonlocal taken
        for chunk in chunks(text, 500):
            taken += len(chunk)
            yield chunk

    with reading() as how:
        first = list(islice((each for each in items(arriving(), how) if isinstance(each, Publishable)), 3))
    assert [each.claim_id for each in first] == ["A0", "A1", "A2"]
    assert taken < len(text) / 20


def test_segments_know_their_elements() -> None:
    """An element is asked for by its X12 number; what is absent is empty, what is padded is stripped."""
    found = list(segments([file(*interchange(), "ignored")]))
    isa, gs = (each for each in found[:2] if isinstance(each, Segment))
    assert (isa.tag, isa.at(6), isa.at(13), isa.at(16), isa.at(17)) == ("ISA", "SENDER", "000000001", ":", "")
    assert (gs.number, gs.tag, gs.at(1), gs.parts(99)) == (2, "GS", "HC", [""])
    assert isinstance(found[-1], Unreadable)


def wrapped(text: bytes, columns: int, end: bytes) -> bytes:
    """Break a file into lines of some columns, as mainframes and editors do."""
    return end.join(text[start : start + columns] for start in range(0, len(text), columns))
