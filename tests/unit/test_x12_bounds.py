"""What no file can make the readers of X12 do: take long, hold much, guess, or repeat what stands in it."""

import time

from services.intake.facts import Refused
from services.intake.files import Publishable
from tests.x12_files import acknowledged, data, decided, file, interchange, of, read, remittance

LIMIT_S = 2.0
"""Processor time for a file of a megabyte on a busy machine; one takes tenths of it."""


def test_a_claim_of_very_many_statuses_or_remarks_is_read_in_no_time() -> None:
    """What a claim repeats is told once, and to know it again takes no longer the more there is."""
    many = range(20_000)
    statuses = [f"STC*A1:{number}*20260602**1*******A1:{number}:PR*A1:{number}:40" for number in many]
    claim = acknowledged("HL*2*1*PT", "TRN*2*A1", *statuses, "STC*A1:7*20260602")
    remarks = [f"MOA***M{number}*N{number}*O{number}*P{number}*M{number}" for number in many]
    began = time.process_time()
    found = read(file(*interchange(claim)))
    found += read(file(*interchange(remittance(decided("A1*1*100*80", *remarks)))))
    assert time.process_time() - began < LIMIT_S
    assert [each.rule for each in of(Refused, found)] == ["$: at most 262144 bytes"] * 2


def test_what_a_claim_repeats_is_told_once_and_in_order() -> None:
    """Statuses and remarks come as the payer wrote them, each for the first time it is said."""
    claim = acknowledged("HL*2*1*PT", "TRN*2*A1", "STC*A1:20*20260602", "STC*A1:19:PR*20260602", "STC*A1:20*20260602")
    found = read(file(*interchange(claim)))
    found += read(file(*interchange(remittance(decided("A1*1*100*80", "MOA***N2*M1*N2", "LQ*HE*M1", "LQ*HE*A9")))))
    assert len(of(Publishable, found)) == 2
    answered, paid = data(found)
    assert answered["statuses"] == [{"category": "A1", "code": "20"}, {"category": "A1", "code": "19", "entity": "PR"}]
    assert paid["remarks"] == ["N2", "M1", "A9"]
