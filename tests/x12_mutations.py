"""`python -m tests.x12_mutations`: damages X12 files in every way, reads them, and stops at the first that goes wrong.

A mutation is told by the files, a seed and a number: the same three make the same bytes on every machine.
"""

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Final

from services.intake.files import Item, items
from tests.x12_files import reading
from tests.x12_judged import CANARIES, violations
from tests.x12_written import small

SHARED: Final = Path(__file__).resolve().parents[2] / "shared" / "x12"
"""Files that others wrote, where this machine has them."""

START_LIMIT_S: Final = 0.5
"""Processor time of any file, however small, on a busy machine."""
BYTE_LIMIT_S: Final = 100e-6
"""Processor time that a byte may add; one costs 0.4 µs as a rule, some ten in the smallest chunks."""
TOLD: Final = 10_000
"""Mutations between two words of a long run."""
CHUNKS: Final = (1, 2, 3, 7, 64, 105, 106, 107, 211, 4_096, 262_144)

_AMOUNTS: Final = (
    "1e5",
    "٣",
    "0x10",
    "-",
    ".",
    "-.",
    "1.005",
    "99999999999",
    "9999999999.99",
    "NaN",
    "inf",
    "1_0",
    "+5",
)
_HARD: Final = (
    *(
        b"",
        b" ",
        b"\0",
        b"\xff\xfe",
        b"\xed\xa0\x80",
        b"\xf4\x90\x80\x80",
        b"\xc2",
        b"\xe2\x80\xae",
        b"\xf0\x9f\x98\x80",
    ),
    *(b"\x1b[2J", b"\x1a", b"\r\n", b"*", b"~", b":", b"^", b"ISA", b"ISA*", b"IEA", b"~ST*835*1~", b"~CLP*C-1*1*1*1~"),
    *("A1:" * 40_000, "9" * 400, "X" * 70_000, "-" * 300, *_AMOUNTS, *CANARIES),
)
_STRUCTURE: Final = frozenset({b"ISA", b"GS", b"ST", b"SE", b"GE", b"IEA"})


def sources(which: str) -> dict[str, bytes]:
    """Return the files to be damaged by name: those `written` here, those of `others` where there are any, or `all`."""
    found = sorted(SHARED.glob("*/*")) if SHARED.is_dir() else []
    others = {f"{path.parent.name}/{path.name}": path.read_bytes() for path in found if "LICENSE" not in path.name}
    return {**(small() if which != "others" else {}), **(others if which != "written" else {})}


def first_wrong(which: str, seed: int, numbers: range) -> str | None:
    """Return the first mutation that is read wrongly, by how to make it again, and what is wrong; None if none is.

    What the product raises is raised, with the same note.
    """
    files = sources(which)
    for number in numbers:
        name, data, chunk = damaged(seed, number, files)
        told = f"python -m tests.x12_mutations --files {which} --seed {seed} --first {number} --count 1  # {name}"
        try:
            found = next(wrong(data, chunk), None)
        except BaseException as error:
            error.add_note(told)
            raise
        if found is not None:
            return f"{told}\n{found}"
    return None


def damaged(seed: int, number: int, files: dict[str, bytes]) -> tuple[str, bytes, int]:
    """Return a mutation: the name of the file it was made from, its bytes, and in which chunks to read them."""
    random = Random(f"{seed}:{number}")
    name, *more = random.sample(sorted(files), 2)
    data = files[name]
    for _ in range(random.choice((1, 1, 1, 2, 3, 5))):
        data = random.choice(_MUTATIONS)(random, data, files[more[0]])
    return name, data, random.choice(CHUNKS)


def read(data: bytes, chunk: int) -> list[Item]:
    """Return all that is read out of the bytes, given chunk by chunk."""
    with reading(patient_key=b"a key of the test") as how:
        return list(items((data[at : at + chunk] for at in range(0, len(data), chunk)), how))


def wrong(data: bytes, chunk: int) -> Iterator[str]:
    """Yield what does not hold of a file's reading; whatever the product raises is raised."""
    began = time.process_time()
    found = read(data, chunk)
    spent = time.process_time() - began
    if spent > START_LIMIT_S + BYTE_LIMIT_S * len(data):
        yield f"{len(data)} bytes in chunks of {chunk} took {spent:.1f} s"
    yield from violations(data, found)
    if read(data, max(1, len(data))) != found:
        yield f"read in chunks of {chunk} it says other things than read at once"


def _cut(random: Random, data: bytes, _other: bytes) -> bytes:
    at = random.randrange(len(data) + 1)
    return data[:at] if random.random() < 0.8 else data[at:]


def _flip_bits(random: Random, data: bytes, _other: bytes) -> bytes:
    changed = bytearray(data)
    for _ in range(random.choice((1, 1, 2, 8)) if data else 0):
        changed[random.randrange(len(data))] ^= 1 << random.randrange(8)
    return bytes(changed)


def _delete(random: Random, data: bytes, _other: bytes) -> bytes:
    start, end = _range(random, data)
    return data[:start] + data[end:]


def _insert(random: Random, data: bytes, _other: bytes) -> bytes:
    at = random.randrange(len(data) + 1)
    return data[:at] + _text(random) + data[at:]


def _duplicate(random: Random, data: bytes, _other: bytes) -> bytes:
    start, end = _range(random, data)
    return data[:end] + data[start:end] * random.choice((1, 1, 2, 50)) + data[end:]


def _range(random: Random, data: bytes) -> tuple[int, int]:
    start = random.randrange(len(data) + 1)
    return start, min(len(data), start + random.choice((1, 2, 5, 30, 200)))


def _segment(random: Random, data: bytes, other: bytes) -> bytes:
    """Drop, double, swap, move or bring along whole segments."""
    end = _terminator(data)
    segments, others = data.split(end), other.replace(_terminator(other), end).split(end)
    one, two = random.randrange(len(segments)), random.randrange(len(segments))
    match random.randrange(6):
        case 0:
            del segments[one]
        case 1:
            segments[one:one] = [segments[one]] * random.choice((1, 2, 40))
        case 2:
            segments[one], segments[two] = segments[two], segments[one]
        case 3:
            segments.insert(two, segments.pop(one))
        case 4:
            segments[one:one] = [random.choice(others)]
        case _:
            segments[one:one] = others[random.randrange(len(others)) :]
    return end.join(segments)


def _element(random: Random, data: bytes, _other: bytes) -> bytes:
    """Put something else where an element stands."""
    end = _terminator(data)
    between = data[3:4] if data[:3] == b"ISA" and len(data) > 3 else b"*"
    segments = data.split(end)
    at = random.randrange(len(segments))
    elements = segments[at].split(between)
    if len(elements) > 1 or random.random() < 0.1:
        place = random.randrange(min(1, len(elements) - 1), len(elements))
        elements[place] = random.choice((b"", elements[place] + _text(random), _text(random), _text(random)))
    segments[at] = between.join(elements)
    return end.join(segments)


def _mark(random: Random, data: bytes, _other: bytes) -> bytes:
    """Put a canary where texts stand, in many elements at once."""
    end, canary = _terminator(data), random.choice(CANARIES).encode(random.choice(("utf-8", "latin-1")))
    often = random.choice((0.05, 0.3, 1))
    segments = [segment.split(b"*") for segment in data.split(end)]
    for elements in segments:
        for place in range(1, len(elements)) if elements[0].strip() not in _STRUCTURE else ():
            if random.random() < often:
                elements[place] = canary + random.choice((b"", b":" + canary, elements[place]))
    return end.join(b"*".join(elements) for elements in segments)


def _separators(random: Random, data: bytes, _other: bytes) -> bytes:
    """Exchange separators, everywhere or in ISA alone."""
    old, new = random.choice((b"*", b"~", b":", b"^", b"\n")), random.choice((*b"*~:^|\n\r!>\x1c\x1d\xa7\xe9 Aa0\0",))
    changed = data.replace(old, bytes([new]))
    return changed if random.random() < 0.6 else changed[:106] + data[106:]


def _whole(random: Random, data: bytes, other: bytes) -> bytes:
    """Change the file as a whole: its coding, its lines, what stands around it."""
    match random.randrange(9):
        case 0:
            return data.decode("latin-1").encode(random.choice(("utf-16", "utf-16-le", "utf-32", "cp037", "utf-8-sig")))
        case 1:
            width = random.choice((1, 2, 3, 64, 80))
            return random.choice((b"\n", b"\r\n")).join(data[at : at + width] for at in range(0, len(data), width))
        case 2:
            return data.translate(None, b"\r\n")
        case 3:
            return data.swapcase()
        case 4:
            return data + random.choice((b"", b"\n", b"\0" * 500, b" " * 300)) + other
        case 5:
            at = random.randrange(len(data) + 1)
            return data[:at] + other
        case 6:
            return random.choice((b" \r\n", b"\0" * 2_000, b"\xef\xbb\xbf", b"\x1a", b"ISA" * 500)) + data
        case 7:
            return data[:106] * random.choice((2, 3, 200)) + data
        case _:
            return data * random.choice((2, 3))


def _text(random: Random) -> bytes:
    chosen = random.choice(_HARD)
    if random.random() < 0.2:
        return random.randbytes(random.choice((1, 2, 9, 300)))
    return chosen if isinstance(chosen, bytes) else chosen.encode(random.choice(("utf-8", "utf-8", "utf-16-le")))


def _terminator(data: bytes) -> bytes:
    return data[105:106] if data[:3] == b"ISA" and len(data) > 105 else b"~"


_MUTATIONS: Final[tuple[Callable[[Random, bytes, bytes], bytes], ...]] = (
    *(_cut, _flip_bits, _delete, _insert, _duplicate, _mark, _separators, _whole),
    *(_segment, _segment, _segment, _element, _element, _element),
)


def main() -> int:
    """Read so many mutations; say what was read, and end with 1 at the first violation."""
    parser = argparse.ArgumentParser(prog="python -m tests.x12_mutations", description=__doc__)
    parser.add_argument("--files", choices=("written", "others", "all"), default="all", help="which (%(default)s)")
    parser.add_argument("--seed", type=int, default=7, help="%(default)s")
    parser.add_argument("--first", type=int, default=0, help="the number of the first mutation (%(default)s)")
    parser.add_argument("--count", type=int, default=100_000, help="how many (%(default)s)")
    given = parser.parse_args()
    began = time.monotonic()
    for first in range(given.first, given.first + given.count, TOLD):
        numbers = range(first, min(first + TOLD, given.first + given.count))
        if (found := first_wrong(given.files, given.seed, numbers)) is not None:
            sys.stderr.write(f"{found}\n")
            return 1
        sys.stderr.write(f"{numbers.stop:,} mutations: nothing wrong in {time.monotonic() - began:,.0f} s\n")
    sys.stdout.write(
        f"{given.count:,} mutations of {len(sources(given.files))} files, seed {given.seed}: nothing wrong.\n"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
