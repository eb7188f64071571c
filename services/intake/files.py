"""A file of X12, as it is read: events that may be published, and all else there is to say of it, in one stream."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from typing import Any, BinaryIO, Final
from zoneinfo import ZoneInfo

from msgspec import Struct, field
from msgspec.structs import replace

from events.codec import Record, Refusal
from services.event_lines import record_of
from services.intake import acknowledgements, remittances, statuses, submissions
from services.intake.envelope import Body, Found, Transaction, transactions
from services.intake.facts import (
    Fact,
    Finding,
    Outcome,
    Refused,
    Remark,
    Remittance,
    Unpublished,
    code_of_list,
    event,
    fact_key,
)
from services.intake.notebook import Notebook
from services.intake.payments import Payments
from services.intake.segments import Unreadable, segments
from services.intake.sent import Sent
from services.settings import Unconnected

CHUNK_BYTES: Final = 262_144
KEPT_FILE: Final = "intake.sqlite3"
"""In the data directory: what must be remembered between files."""
MAX_NAMED: Final = 1_000
"""Unknown reasons that are counted one by one; X12's list has some three hundred."""


class Publishable(Struct, frozen=True):
    """An event of the file."""

    number: int
    record: Record
    time: str
    data: dict[str, Any]
    findings: tuple[str, ...]

    @property
    def claim_id(self) -> str:
        """The claim that it is about."""
        return (self.record.key or b"").decode()

    @property
    def says(self) -> str:
        """What happened, in the contract's word: the kind of a submission, the response of a payer."""
        return str(self.data.get("kind") or self.data["response"])


def chunks(stream: BinaryIO, tell: Callable[[int], None]) -> Iterator[bytes]:
    """Yield a file's bytes part by part; `tell` hears how many are read so far."""
    done = 0
    while chunk := stream.read(CHUNK_BYTES):
        yield chunk
        done += len(chunk)
        tell(done)


Item = Publishable | Remark | Unpublished | Remittance | Refused


class Reading(Struct, frozen=True):
    """How files are read."""

    zone: ZoneInfo
    """The zone of the times of day in them, which X12 leaves to the partners."""
    patient_key: bytes | None
    """With what a patient's number becomes a reference; without it, there is none."""
    sent: Sent
    payments: Payments
    notebook: Notebook


@contextmanager
def reading_of(settings: Unconnected, *, keep: bool) -> Iterator[Reading]:
    """Lend what reading takes; without `keep` nothing is remembered for the files to come."""
    key = None if settings.patient_key is None else settings.patient_key.get_secret_value().encode()
    file = settings.data_dir / KEPT_FILE
    with (
        closing(Sent(file) if keep else Sent.copy_of(file)) as sent,
        closing(Payments(file) if keep else Payments.copy_of(file)) as payments,
        closing(Notebook()) as notebook,
    ):
        yield Reading(ZoneInfo(settings.intake_timezone), key, sent, payments, notebook)


class Tally(Struct):
    """What a file held, in numbers that any number of claims leave small."""

    events: Counter[str] = field(default_factory=Counter)
    findings: Counter[Finding] = field(default_factory=Counter)
    unknown_reasons: Counter[str] = field(default_factory=Counter)
    unpublished: int = 0
    remittances: int = 0
    provider_adjustments: int = 0
    refused: int = 0

    def count(self, item: Item) -> None:
        """Count one item."""
        match item:
            case Publishable():
                self.events[item.says] += 1
            case Remark(finding=finding, detail=detail):
                self.findings[finding] += 1
                if finding == "unknown_reason" and (
                    detail in self.unknown_reasons or len(self.unknown_reasons) < MAX_NAMED
                ):
                    self.unknown_reasons[detail] += 1
            case Unpublished():
                self.unpublished += 1
            case Remittance(provider_adjustments=adjustments):
                self.remittances += 1
                self.provider_adjustments += len(adjustments)
            case Refused():
                self.refused += 1


def items(chunks: Iterable[bytes], reading: Reading) -> Iterator[Item]:
    """Yield what a file holds, in its order, with one claim in memory; no bytes make it raise."""
    reading.notebook.begin_file()
    for part in transactions(segments(chunks)):
        match part:
            case Unreadable(number, rule):
                yield Refused(number=number, rule=rule)
            case Found(number, finding):
                yield Remark(number=number, finding=finding)
            case transaction, body:
                reading.notebook.begin_set()
                yield from _set(transaction, body, reading)


def _set(transaction: Transaction, body: Body, reading: Reading) -> Iterator[Item]:
    """Yield what a transaction set holds; a payment balances only where all of its claims are published."""
    refused = False
    for outcome in _outcomes(transaction, body, reading):
        if isinstance(outcome, Fact):
            for item in _published(transaction, outcome, reading):
                refused = refused or isinstance(item, Refused)
                yield item
        elif isinstance(outcome, Remittance):
            told = replace(outcome, balanced=outcome.balanced and not refused)
            reading.payments.keep(told)
            yield told
        else:
            yield outcome


def _outcomes(transaction: Transaction, body: Body, reading: Reading) -> Iterator[Outcome]:
    match transaction.kind:
        case "837":
            return submissions.facts(transaction, body, reading.zone)
        case "835":
            return remittances.facts(transaction, body, reading.payments)
        case "277":
            return statuses.facts(transaction, body, reading.zone, reading.sent, reading.notebook)
        case "999" | "997":
            return acknowledgements.facts(transaction, body, reading.zone, reading.sent, reading.notebook)
    said = f"ST {code_of_list(transaction.kind)}".rstrip()
    return iter(
        [Unpublished(number=transaction.number, claim_id="", said=said, why="837, 835, 277, 999 and 997 are read")]
    )


def _published(transaction: Transaction, fact: Fact, reading: Reading) -> Iterator[Item]:
    """Yield the event of a fact with its findings, or why it is none: the contract's own rules have the last word."""
    key = fact_key(fact.source, fact.claim_id, fact.identity)
    ordinal = reading.notebook.ordinal(key)
    record = record_of(event(fact, key, ordinal, transaction.place(fact.number), reading.patient_key))
    if isinstance(record, Refusal):
        yield Refused(number=fact.number, rule=f"{record.path}: {record.rule}")
        return
    if fact.source == submissions.SOURCE:
        reading.sent.remember(transaction, fact)
    for finding in fact.findings:
        yield Remark(number=fact.number, finding=finding)
    yield Publishable(fact.number, record, fact.time, fact.data, fact.findings)
