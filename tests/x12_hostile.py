"""`python -m tests.x12_hostile`: reads files that are made to do harm, each of any size; tells time and memory of each.

One process reads them all, so that what one leaves behind is seen at the next.
"""

import argparse
import json
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

from services.intake.files import CHUNK_BYTES, Publishable, Tally, items
from tests.peak import peak_kib
from tests.x12_files import reading
from tests.x12_written import claims, interchange, remittance

LOOPS: Final = 100_000
"""Repeated in a file that takes little for each; a tenth where each takes more, as by an event of its own."""
MEGABYTES: Final = 10
_DATE: Final = "20260302"

Pieces = Iterator[bytes]


def files(loops: int, megabytes: int) -> dict[str, Callable[[], Pieces]]:
    """Return the files by name, each to be made piece by piece when it is read."""
    few, size = loops // 10, megabytes * 1_000_000
    trail = f"TRN*1*1*1~DTM*405*{_DATE}~N1*PR*P*XV*1~"
    pay, send = f"BPR*I*0*C*ACH************{_DATE}~{trail}", f"BHT*0019*00*1*{_DATE}*1200~NM1*40*2*P*****46*P~"
    ask = f"BHT*0085*08*1*{_DATE}*1200*TH~HL*1**20~NM1*PR*2*P*****PI*1~"
    batch, each, taken = "HL*2*1*21~TRN*2*BATCH7~", "HL*3*2*PT~TRN*2*C-", f"STC*A2:20*{_DATE}~"
    return {
        # Loops, as many as there can be.
        "CLM without lines": lambda: _of("837", send, "CLM*A1*1***11:B:1~", loops),
        "CLM that all break": lambda: _of("837", send, "CLM~", loops),
        "HL": lambda: _of("837", send, "HL*1*1*22*0~", loops),
        "LX in one claim": lambda: _of("837", f"{send}CLM*A1*1***11:B:1~", "LX*1~SV1*HC:1*1*UN*1~", loops),
        "LX of a payment": lambda: _of("835", pay, "LX*1~", loops),
        "CLP": lambda: _of("835", pay, "CLP*A1*1*1*1~", few),
        "CLP that all break": lambda: _of("835", pay, "CLP*A1~", loops),
        "SVC in one claim": lambda: _of("835", f"{pay}CLP*A1*1*1*1~", "SVC*HC:1*1*1~", loops),
        "CAS in one claim": lambda: _of("835", f"{pay}CLP*A1*1*1*1~", "CAS*CO*45*1**46*1**47*1**48*1~", loops),
        "PLB": lambda: _of("835", pay, f"PLB*1*{_DATE}*WO:A1*1*72:B*1*FB:C*1*CS*1*L6*1*AM*1~", few),
        "STC in one claim": lambda: _numbered("277", f"{ask}HL*2*1*PT~TRN*2*A1~", f"STC*A1:{{}}X*{_DATE}~", loops),
        "MOA in one claim": lambda: _numbered("835", f"{pay}CLP*A1*1*1*1~", "MOA***A{0}*B{0}*C{0}*D{0}~", loops),
        "TRN and STC": lambda: _of("277", f"{ask}HL*2*1*PT~", f"TRN*2*A1~STC*A1:20*{_DATE}~", few),
        "claims of one batch": lambda: _after(
            claims(few), _numbered("277", f"{ask}{batch}", f"{each}{{}}~{taken}", few)
        ),
        "AK2 of one set": lambda: _after(claims(9), _of("999", "AK1*HC*7~", "AK2*837*0042~AK5*R~", few)),
        "AK2 of sets nobody knows": lambda: _numbered("999", "AK1*HC*7~", "AK2*837*{}~AK5*R~", few),
        "AK9 of one group": lambda: _after(claims(9), _of("999", "", "AK1*HC*7~AK9*A~", few)),
        "ST": lambda: _of("835", "", "SE*1*1~ST*835*1~", few),
        "GS": lambda: _of("835", "SE*2*1~", "GS*HP*A*B~GE*0*1~", few),
        # Bytes that are no segments.
        "ISAISAISA": lambda: _repeated(b"ISA", size // 20),
        "ISA headers": lambda: _repeated(next(claims(1))[:106], size),
        "no end of an element": lambda: _after(_of("835", pay, "CLP*A1*1*1*1~", 1), _repeated(b"9", size)),
        "no end of a segment": lambda: _after([next(remittance(1))], _repeated(b"CLP*A1*1", size)),
        "spaces before": lambda: _after(_repeated(b" ", size), remittance(1)),
        "NUL behind": lambda: _after(remittance(1), _repeated(b"\0", size)),
        "line ends in it": lambda: _after([next(remittance(1))], _repeated(b"\r\n", size)),
        "terminators": lambda: _after([next(remittance(1))], _repeated(b"~", size // 10)),
        "noise": lambda: _repeated(bytes(range(256)), size),
        # Claims that are as large as one may be, and larger.
        "empty elements": lambda: _of("837", f"{send}CLM*A1*1~", f"K3{'*' * 60_000}~", size // 60_000),
        "short elements": lambda: _of("837", send, "CLM*A1*1~" + f"K3{'*٣' * 16_000}~" * 30, size // 1_440_000),
        "long references": lambda: _of("835", pay, f"PLB*1*{_DATE}*WO:{'9' * 60_000}*1~", size // 60_000),
        "long control numbers": lambda: _numbered("999", "AK1*HC*7~", f"AK2*837*{{}}{'9' * 60_000}~", size // 60_000),
    }


def measure(loops: int, megabytes: int) -> Iterator[dict[str, Any]]:
    """Read each file; yield its name, size, processor time, what was in it, and how far memory rose since the start."""
    _read(remittance(100))  # what is loaded once is no file's fault
    began = peak_kib()
    for name, make in files(loops, megabytes).items():
        started = time.process_time()
        tally, size = _read(make())
        yield {
            "name": name,
            "bytes": size,
            "seconds": round(time.process_time() - started, 3),
            "rise_kib": peak_kib() - began,
            "events": tally.events.total(),
            "refused": tally.refused,
        }


def _read(pieces: Iterable[bytes]) -> tuple[Tally, int]:
    tally, sizes = Tally(), Counter[str]()

    def counted() -> Pieces:
        for piece in pieces:
            sizes["bytes"] += len(piece)
            yield piece

    with reading(patient_key=b"a key of the test") as how:
        for item in items(counted(), how):
            tally.count(item)
            if isinstance(item, Publishable):
                assert item.record.value
    return tally, sizes["bytes"]


def _of(kind: str, first: str, repeated: str, times: int) -> Pieces:
    """Yield a file in which a text stands so many times."""
    version = {"837": "005010X222A1", "835": "005010X221A1", "277": "005010X214", "999": "005010X231A1"}[kind]
    piece = max(1, CHUNK_BYTES // len(repeated))
    texts = [repeated * piece] * (times // piece) + [repeated * (times % piece)]
    return interchange(kind, version, [first, *texts], back=kind != "837")


def _numbered(kind: str, first: str, repeated: str, times: int) -> Pieces:
    """Yield a file in which a text stands so many times, each with another number."""
    version = {"835": "005010X221A1", "277": "005010X214", "999": "005010X231A1"}[kind]
    numbered = (repeated.format(number) for number in range(times))
    return interchange(kind, version, (first if text is None else text for text in (None, *numbered)), back=True)


def _repeated(unit: bytes, size: int) -> Pieces:
    """Yield bytes of about that size."""
    piece = unit * (CHUNK_BYTES // len(unit))
    for _ in range(size // len(piece) + 1):
        yield piece


def _after(*parts: Iterable[bytes]) -> Pieces:
    for part in parts:
        yield from part


def main() -> None:
    """Print one line of JSON for each file."""
    parser = argparse.ArgumentParser(prog="python -m tests.x12_hostile", description=__doc__)
    parser.add_argument("--loops", type=int, default=LOOPS, help="how many in a file (%(default)s)")
    parser.add_argument("--megabytes", type=int, default=MEGABYTES, help="of a file of bytes (%(default)s)")
    given = parser.parse_args()
    for measured in measure(given.loops, given.megabytes):
        sys.stdout.write(json.dumps(measured) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
