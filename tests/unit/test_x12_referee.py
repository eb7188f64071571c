"""Our reader of segments against pyx12's, which others wrote: on files that nobody here made, and on made ones."""

import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyx12.errors import X12Error
from pyx12.x12file import X12Reader

from services.intake.segments import Segment, segments
from tests.x12_files import chunks, file, interchange

FILES = Path(__file__).resolve().parents[3] / "shared" / "x12"
# What has no readable ISA is no file to pyx12: its word is asked for all others.
NOT_FOR_PYX12 = {
    "keironstoddart__edi-835-parser/blue_cross_nc_sample.txt": "begins with ST",
    "genformai__edi-cli/simple-835.edi": "its ISA is too short",
}
STRUCTURE = {"ISA", "IEA", "GS", "GE", "ST", "SE", "HL"}  # of which pyx12 keeps an account, and stops where it is wrong
SEPARATORS = "*|:><~'!+\\\x1c\x1d\x1e\x1f"

Elements = list[str]
tags = st.from_regex(r"[A-Z][A-Z0-9]{1,2}", fullmatch=True).filter(lambda tag: tag not in STRUCTURE)


@pytest.mark.skipif(not FILES.is_dir(), reason="the X12 files of others are not part of the repository")
def test_sample_files_have_the_segments_that_the_referee_reads() -> None:
    """Every sample file has the same segments to us and to pyx12, element by element."""
    samples = [path for path in sorted(FILES.glob("*/*")) if not path.name.startswith("UPSTREAM-LICENSE")]
    judged = 0
    for path in samples:
        text = path.read_bytes()
        try:
            expected = by_referee(text)
        except X12Error:
            assert path.relative_to(FILES).as_posix() in NOT_FOR_PYX12
            continue
        judged += 1
        assert by_us(text, 1000) == expected, path.name
    assert judged == len(samples) - len(NOT_FOR_PYX12)


@given(
    body=st.lists(
        st.tuples(
            tags, st.lists(st.text(st.characters(codec="latin-1", categories=["L", "N", "P", "S", "Zs"])), max_size=6)
        ),
        max_size=12,
    ),
    separators=st.permutations(SEPARATORS),
    after=st.sampled_from(["", "\n", "\r\n", "\n\n"]),
    lines_end_segments=st.booleans(),
    size=st.integers(1, 300),
)
def test_made_files_have_the_segments_that_the_referee_reads(
    body: list[tuple[str, Elements]], separators: list[str], after: str, lines_end_segments: bool, size: int
) -> None:
    """Whatever stands in segments, whatever separates them and however it arrives, we and pyx12 read the same."""
    element, component, terminator = separators[:3]
    if lines_end_segments:
        terminator, after = "\n", ""
    isa, gs, ge, iea = interchange()
    told = [
        "*".join([tag, *(without(each, element + component + terminator) for each in elements)])
        for tag, elements in body
    ]
    text = file(isa, gs, *told, ge, iea, element=element, component=component, terminator=terminator, after=after)
    found = by_us(text, size)
    assert found == by_referee(text)
    assert len(found) == len(body) + 4


def by_us(text: bytes, size: int) -> list[Elements]:
    """Tag and elements of every segment as we read them, in order and numbered."""
    found = list(segments(chunks(text, size)))
    read = [each for each in found if isinstance(each, Segment)]
    assert [each.number for each in read] == list(range(1, len(found) + 1))
    return [[part.strip() for part in each.elements] for each in read]


def by_referee(text: bytes) -> list[Elements]:
    """Tag and elements of every segment as pyx12 reads them; it keeps the padding of elements, which says nothing."""
    reader = X12Reader(io.StringIO(text.decode(), newline=""))
    return [
        [str(each.seg_id).strip()]
        + [part.subele_term.join(inner.value for inner in part.elements).strip() for part in each.elements]
        for each in reader
    ]


def without(text: str, separators: str) -> str:
    """The text without what would separate; a colon stays, of which `file` makes a separator of components."""
    return "".join(letter for letter in text if letter not in f"{separators}*" or letter == ":")
