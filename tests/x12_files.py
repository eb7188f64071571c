"""Files of X12, made for tests: segments in the usual separators, counted, wrapped in envelopes and written out.

A segment is a string such as ``CLP*A1*1*100*80``; `file` writes them with whatever separators a test wants.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

from services.intake.facts import Refused, Remark
from services.intake.files import CHUNK_BYTES, Item, Publishable, Reading, items
from services.intake.notebook import Notebook
from services.intake.payments import Payments
from services.intake.sent import Sent

ZONE = "America/New_York"
GROUPS = {"835": "HP", "837": "HC", "277": "HN", "999": "FA", "997": "FA"}
Kind = TypeVar("Kind")
VERSIONS = {"835": "005010X221A1", "837": "005010X222A1", "277": "005010X214", "999": "005010X231A1", "997": "004010"}


def file(*segments: str, element: str = "*", component: str = ":", terminator: str = "~", after: str = "\n") -> bytes:
    """Write segments out: `after` follows each terminator, as line ends do."""
    with_these = str.maketrans({"*": element, ":": component})
    return "".join(f"{segment.translate(with_these)}{terminator}{after}" for segment in segments).encode()


def transaction(kind: str, *segments: str, control: str = "0001", version: str | None = None) -> tuple[str, ...]:
    """Return a transaction set, from ST to SE with the right count."""
    st = f"ST*{kind}*{control}*{VERSIONS[kind] if version is None else version}".rstrip("*")
    return st, *segments, f"SE*{len(segments) + 2}*{control}"


def interchange(
    *sets: Sequence[str],
    sender: str = "SENDER",
    receiver: str = "RECEIVER",
    day: str = "20260602",
    clock: str = "1200",
    group: str = "1",
    control: str = "000000001",
) -> tuple[str, ...]:
    """Return an interchange of one group, from ISA to IEA."""
    kind = sets[0][0].split("*")[1] if sets else "837"
    isa = (
        f"ISA*00*          *00*          *ZZ*{sender:15}*ZZ*{receiver:15}*{day[2:]}*{clock[:4]}*^*00501*{control}*0*P*:"
    )
    gs = f"GS*{GROUPS[kind]}*{sender}*{receiver}*{day}*{clock}*{group}*X*{VERSIONS[kind]}"
    inside = [segment for each in sets for segment in each]
    return isa, gs, *inside, f"GE*{len(sets)}*{group}", f"IEA*1*{control}"


def remittance(
    *claims: Sequence[str],
    total: str = "80",
    trace: str = "EFT1",
    payer: str = "87726",
    decided: str = "20260601",
    paid_on: str = "20260603",
    method: str = "ACH",
    plb: Sequence[str] = (),
    control: str = "0001",
) -> tuple[str, ...]:
    """Return an 835 of these claims, each as `decided` makes it."""
    head = (
        *(f"BPR*I*{total}*C*{method}************{paid_on}".rstrip("*"), f"TRN*1*{trace}*1512345678"),
        *((f"DTM*405*{decided}",) if decided else ()),
        *(f"N1*PR*PLAN*XV*{payer}", "N1*PE*CLINIC*XX*1234567893", "LX*1"),
    )
    return transaction("835", *head, *(segment for claim in claims for segment in claim), *plb, control=control)


def decided(clp: str, *segments: str) -> tuple[str, ...]:
    """Return a claim of an 835: CLP from its second element on, as ``A1*1*100*80``, and what follows it."""
    return f"CLP*{clp}", *segments


def batch(
    *claims: Sequence[str],
    number: str = "BATCH1",
    day: str = "20260602",
    clock: str = "1159",
    control: str = "0001",
    version: str | None = None,
) -> tuple[str, ...]:
    """Return an 837 of these claims, each as `sent` makes it."""
    head = (
        f"BHT*0019*00*{number}*{day}*{clock}*CH",
        *("NM1*41*2*CLINIC*****46*SUBMITTER", "NM1*40*2*HOUSE*****46*HOUSE1"),
        *("HL*1**20*1", "NM1*85*2*CLINIC*****XX*1234567893"),
    )
    return transaction(
        "837", *head, *(segment for claim in claims for segment in claim), control=control, version=version
    )


def sent(clm: str, *segments: str, rank: str = "P", member: str = "MEM0001", payer: str = "87726") -> tuple[str, ...]:
    """Return a claim of an 837 under a subscriber of its own: CLM from its second element on, and what follows it."""
    return (
        *(
            "HL*2*1*22*0",
            f"SBR*{rank}*18*******CI",
            f"NM1*IL*1*DOE*JANE****MI*{member}",
            f"NM1*PR*2*PLAN*****PI*{payer}",
        ),
        *(f"CLM*{clm}", *segments),
    )


def served(number: int, code: str, charge: str, day: str = "20260601", control: str = "") -> tuple[str, ...]:
    """Return a service line of an 837P."""
    told = (f"LX*{number}", f"SV1*HC:{code}*{charge}*UN*1***1", f"DTP*472*D8*{day}")
    return (*told, f"REF*6R*{control}") if control else told


def acknowledged(*loops: str, source: str = "PR", day: str = "20260603", clock: str = "0930") -> tuple[str, ...]:
    """Return a 277CA: `loops` are the segments below the information source, from its receiver's HL on."""
    head = (f"BHT*0085*08*ACK1*{day}*{clock}*TH", "HL*1**20*1", f"NM1*{source}*2*PLAN*****PI*87726")
    return transaction("277", *head, *loops)


@contextmanager
def reading(zone: str = ZONE, patient_key: bytes | None = None, remembered: Sent | None = None) -> Iterator[Reading]:
    """How a run reads files; what it was told to remember outlives it, all else is given back."""
    memory, payments, notebook = remembered or Sent(None), Payments(None), Notebook()
    try:
        yield Reading(ZoneInfo(zone), patient_key, memory, payments, notebook)
    finally:
        notebook.close()
        payments.close()
        if remembered is None:
            memory.close()


def read(text: bytes, *before: bytes, zone: str = ZONE, patient_key: bytes | None = None) -> list[Item]:
    """Return what a file holds, read after other files by the same run."""
    with reading(zone, patient_key) as how:
        for each in before:
            list(items([each], how))
        return list(items(chunks(text, CHUNK_BYTES), how))


def chunks(text: bytes, size: int) -> Iterator[bytes]:
    """Cut a file into pieces of some size."""
    return (text[start : start + size] for start in range(0, len(text), size))


def events(found: Iterable[Item]) -> list[dict[str, Any]]:
    """Return the events as they would be published, without the place where they stood in the file."""
    bodies = [json.loads(item.record.value or b"") for item in found if isinstance(item, Publishable)]
    return [{name: value for name, value in body.items() if name != "x12place"} for body in bodies]


def data(found: Iterable[Item]) -> list[dict[str, Any]]:
    """Return what the events say happened."""
    return [event["data"] for event in events(found)]


def of(kind: type[Kind], found: Iterable[Item]) -> list[Kind]:
    """Return the items of one kind."""
    return [item for item in found if isinstance(item, kind)]


def remitted(*claims: Sequence[str], total: str = "80", plb: Sequence[str] = ()) -> list[Item]:
    """Return what a file holds that is an 835 of these claims."""
    return read(file(*interchange(remittance(*claims, total=total, plb=plb))))


def findings(found: Iterable[Item]) -> list[str]:
    """Return the findings, in order of the alphabet."""
    return sorted(each.finding for each in of(Remark, found))


def refusals(found: Iterable[Item]) -> list[tuple[int, str]]:
    """Return segment and rule of what could not be read."""
    return [(each.number, each.rule) for each in of(Refused, found)]
