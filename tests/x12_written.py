"""X12 files written here: small ones of every kind, and a claims file and a remittance of any number of claims."""

from collections.abc import Iterable, Iterator
from typing import Final

SENDER: Final = "CLINIC7"
PAYER: Final = "PAYER01"
MANY: Final = 100
"""Claims that are handed out in one piece."""

_DATE: Final = "20260302"
_CONTROL: Final = "000000101"
# Service, charge, what the contract writes off, and the co-payment, in dollars; taken in turn.
_SERVICES: Final = (("97110", 62, 14, 10), ("97140", 48, 8, 0), ("97124", 55, 11, 5), ("97530", 70, 16, 20))


def interchange(kind: str, version: str, body: Iterable[str], *, back: bool = False) -> Iterator[bytes]:
    """Yield an interchange of one transaction set, piece by piece; `body` yields segments with their terminators.

    It goes from the clinic to the payer, or `back`.
    """
    sender, receiver = (PAYER, SENDER) if back else (SENDER, PAYER)
    group = {"837": "HC", "835": "HP", "277": "HN", "999": "FA"}[kind]
    yield (
        f"ISA*00*{'':10}*00*{'':10}*ZZ*{sender:15}*ZZ*{receiver:15}*{_DATE[2:]}*1415*^*00501*{_CONTROL}*0*P*:~\n"
        f"GS*{group}*{sender}*{receiver}*{_DATE}*1415*7*X*{version}~\nST*{kind}*0042*{version}~\n"
    ).encode()
    count = 2
    for text in filter(None, body):
        count += text.count("~")
        yield text.encode()
    yield f"SE*{count}*0042~\nGE*1*7~\nIEA*1*{_CONTROL}~\n".encode()


def claims(count: int, version: str = "005010X222A1") -> Iterator[bytes]:
    """Yield an 837 of so many therapy claims of two lines each."""

    def body() -> Iterator[str]:
        yield f"BHT*0019*00*BATCH7*{_DATE}*1415*CH~\nNM1*41*2*CLINIC*****46*{SENDER}~\nPER*IC*DESK*TE*5550100~\n"
        yield f"NM1*40*2*PAYER*****46*{PAYER}~\nHL*1**20*1~\nPRV*BI*PXC*225100000X~\n"
        yield "NM1*85*2*CLINIC*****XX*1234567893~\nN3*1 MAIN ST~\nN4*SPRINGFIELD*IL*627010001~\nREF*EI*123456789~\n"
        yield from ("".join(map(_claim, numbers)) for numbers in _in_pieces(count))

    return interchange("837", version, body())


def remittance(count: int) -> Iterator[bytes]:
    """Yield an 835 that decides so many claims of two lines each, and takes one dollar back from the provider."""

    def body() -> Iterator[str]:
        paid = sum(_charge(number) - _written_off(number) - _copaid(number) for number in range(1, count + 1)) - 1
        yield f"BPR*I*{paid}*C*ACH*CCP*01*111000025*DA*123456*1512345678**01*111000025*DA*654321*{_DATE}~\n"
        yield f"TRN*1*EFT0042*1512345678~\nDTM*405*{_DATE}~\nN1*PR*PAYER*XV*{PAYER}~\nN3*PO BOX 1~\n"
        yield "N4*CHICAGO*IL*60601~\nN1*PE*CLINIC*XX*1234567893~\nLX*1~\n"
        yield from ("".join(map(_decision, numbers)) for numbers in _in_pieces(count))
        yield "PLB*1234567893*20261231*WO:C-00000001*1~\n"

    return interchange("835", "005010X221A1", body(), back=True)


def small() -> dict[str, bytes]:
    """Return small files by name: of every kind that is read, with what a reader must judge in each."""
    both = "HL*1**20*1~NM1*PR*2*PAYER*****PI*PAYER01~HL*2*1*21*1~NM1*41*2*CLINIC*****46*CLINIC7~TRN*2*BATCH7~"
    answers = "".join(
        f"HL*{number}*3*PT~NM1*QC*1*DOE*JO****MI*M{number:08}~TRN*2*C-{number:08}~STC*{status}*{_DATE}*U*110~"
        f"REF*1K*ICN{number}~DTP*472*D8*20260227~SVC*HC:97110*62*0****2~STC*{status}*{_DATE}~"
        for number, status in enumerate(("A2:20:PR", "A7:562:85", "P1:1", "R4:294", "F2:88"), 4)
    )
    turned = f"{both}STC*A3:21:40*{_DATE}*U*220~QTY*AA*3~AMT*YY*220~"
    inquiry = f"BHT*0010*08*X1*{_DATE}*0815*DG~{both}HL*3*2*19*1~NM1*1P*2*CLINIC*****XX*1234567893~{answers}"
    read = b"".join(claims(3))
    return {
        "837": read,
        "837 institutional": b"".join(claims(2, "005010X223A2"))
        .replace(b"SV1*", b"SV2*0420*")
        .replace(b"*UN*", b"*DA*"),
        "835": b"".join(remittance(3)),
        "835 hard": _hard_remittance(),
        "277": b"".join(interchange("277", "005010X212", [inquiry], back=True)),
        "277CA": b"".join(
            interchange("277", "005010X214", [f"BHT*0085*08*X1*{_DATE}*1530*TH~{both}{answers}"], back=True)
        ),
        "837 and a 277CA": read
        + b"".join(interchange("277", "005010X214", [f"BHT*0085*08*X1*{_DATE}*1530*TH~{turned}"], back=True)),
        "837 and a 999": read
        + b"".join(
            interchange(
                "999",
                "005010X231A1",
                ["AK1*HC*7*005010X222A1~AK2*837*0042*005010X222A1~IK3*CLM*22**8~IK4*2*782*1~IK5*R*5~AK9*R*1*1*0~"],
                back=True,
            )
        ),
        "no envelope": b"ST*835*0042~" + b"".join(remittance(2)).partition(b"A1~\nST*835*0042*005010X221A1~\n")[2],
    }


def _hard_remittance() -> bytes:
    """Return an 835 with a reversal, a denial, a claim passed on, adjustments of a whole claim, and several PLBs."""
    body = (
        f"BPR*I*97.5*C*CHK************{_DATE}~TRN*1*CHECK7*1512345678~DTM*405*{_DATE}~N1*PR*PAYER~REF*2U*87726~LX*1~"
        "CLP*C-1*22*-110*-81*-10*12*ICN1*11*7~NM1*QC*1*DOE*JO****MI*M1~CAS*CO*45*-19~SVC*HC:97110*-110*-81**-2~AMT*B6*91~"
        "CLP*C-1*1*110*81*10*12*ICN2*11*7~CAS*CO*45*19~CAS*PR*2*10~AMT*AU*91~AMT*B6*91~MOA***MA01*N522~"
        "CLP*C-2*4*60.5*0*0*MC*ICN3~SVC*HC>97124*60.5*0**1~CAS*CO*50*60.50~LQ*HE*N115~DTM*050*20260301~"
        "CLP*C-3*19*70*.5*20*12*ICN4~NM1*IL*1*DOE*AL****MI*M3~SVC*HC:97530*70*.5****1~CAS*OA*23*49.5**94*0~CAS*PR*1*20~"
        "CLP*C-4*1*48*17*0*12*ICN5~SVC*HC:97140*40*17**1~CAS*CO*45*23~AMT*B6*17~SVC*HC:97010*8*0**1~CAS*CO*97*1**45*1**59*1**119*1**131*1**253*3~"
        f"CLP*C-5*25*10*0~CLP*C-6*23*10*0~PLB*1234567893*20261231*WO:C-2*-100*72:REF7*20~PLB*1*{_DATE}*FB*100*CS:X*0*L6*0~"
    )
    return b"".join(interchange("835", "005010X221A1", [body], back=True))


def _in_pieces(count: int) -> Iterator[range]:
    for first in range(1, count + 1, MANY):
        yield range(first, min(first + MANY, count + 1))


def _services(number: int) -> tuple[tuple[str, int, int, int], tuple[str, int, int, int]]:
    return _SERVICES[number % 4], _SERVICES[(number // 4 + 1) % 4]


def _charge(number: int) -> int:
    return sum(charge for _, charge, _, _ in _services(number))


def _written_off(number: int) -> int:
    return sum(contract for _, _, contract, _ in _services(number))


def _copaid(number: int) -> int:
    return sum(copay for _, _, _, copay in _services(number))


def _claim(number: int) -> str:
    lines = "".join(
        f"LX*{place}~\nSV1*HC:{code}:GP*{charge}*UN*1***1~\nDTP*472*D8*20260227~\nREF*6R*{number}-{place}~\n"
        for place, (code, charge, _, _) in enumerate(_services(number), 1)
    )
    return (
        f"HL*{number + 1}*1*22*0~\nSBR*P*18*******CI~\nNM1*IL*1*DOE*JORDAN****MI*M{number:08}~\nN3*2 SIDE ST~\n"
        f"N4*SPRINGFIELD*IL*62701~\nDMG*D8*19800101*U~\nNM1*PR*2*PAYER*****PI*{PAYER}~\n"
        f"CLM*C-{number:08}*{_charge(number)}***11:B:1*Y*A*Y*Y~\nHI*ABK:M545~\n"
        f"NM1*82*1*ROE*SAM****XX*1234567893~\nPRV*PE*PXC*225100000X~\n{lines}"
    )


def _decision(number: int) -> str:
    lines = "".join(
        f"SVC*HC:{code}:GP*{charge}*{charge - contract - copay}**1~\nDTM*472*20260227~\nCAS*CO*45*{contract}~\n"
        + (f"CAS*PR*3*{copay}~\n" if copay else "")
        + f"REF*6R*{number}-{place}~\nAMT*B6*{charge - contract}~\n"
        for place, (code, charge, contract, copay) in enumerate(_services(number), 1)
    )
    charge, copaid = _charge(number), _copaid(number)
    return (
        f"CLP*C-{number:08}*1*{charge}*{charge - _written_off(number) - copaid}*{copaid}*12*ICN{number:08}*11*1~\n"
        f"NM1*QC*1*DOE*JORDAN****MI*M{number:08}~\nNM1*82*1*ROE*SAM****XX*1234567893~\nDTM*050*20260301~\n{lines}"
    )
