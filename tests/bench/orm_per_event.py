"""FastStream the ordinary way: a subscriber a topic, a pydantic model, and one ORM session and COMMIT per event."""

import asyncio
import logging
import sys
import time
from datetime import UTC, datetime
from typing import Any, Final

import uvloop
from faststream.kafka import KafkaBroker, KafkaMessage
from pydantic import BaseModel
from sqlalchemy import BigInteger, DateTime, make_url, select
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from events import codec
from services import claim_rows, lifecycle
from services.claim import Claim
from services.settings import Settings
from services.timing import is_open
from tests.bench.backlog import WrongWork
from tests.bench.child import Clock

TOPIC_LIMIT_S: Final = 120.0

_log: Final = logging.getLogger(__name__)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class CloudEvent(BaseModel):
    """An event as the handlers take it."""

    specversion: str
    id: str
    source: str
    type: str
    subject: str
    time: datetime
    data: dict[str, Any]


class Base(DeclarativeBase):
    """Where SQLAlchemy keeps the two tables."""

    type_annotation_map = {datetime: DateTime(timezone=True)}  # noqa: RUF012  (SQLAlchemy's own form)


class EventRow(Base):
    """A row of the event log."""

    __tablename__ = "event"
    claim_id: Mapped[str] = mapped_column(primary_key=True)
    identity: Mapped[bytes] = mapped_column(primary_key=True)
    kind: Mapped[str]
    time: Mapped[datetime]
    recorded_at: Mapped[datetime]
    partition: Mapped[int]
    offset: Mapped[int] = mapped_column(BigInteger)
    body: Mapped[str]


class ClaimRow(Base):
    """A claim."""

    __tablename__ = "claim"
    claim_id: Mapped[str] = mapped_column(primary_key=True)
    version: Mapped[int]
    state: Mapped[str | None]
    payer: Mapped[str]
    open: Mapped[bool]
    since: Mapped[datetime | None]
    waiting_since: Mapped[datetime | None]
    packed: Mapped[str]


class Handlers:
    """Takes each event into its claim; counts and times what it took."""

    def __init__(self, sessions: async_sessionmaker[AsyncSession]) -> None:
        self._sessions = sessions
        self.left = 0
        self.began = 0.0
        self.seconds = 0.0
        self.done = asyncio.Event()

    def expect(self, records: int) -> None:
        """Begin a topic; its clock starts with its first event."""
        self.left, self.began = records, 0.0
        self.done.clear()

    async def take(self, event: CloudEvent, message: KafkaMessage) -> None:
        """Store an event and move its claim on."""
        self.began = self.began or time.perf_counter()
        try:
            async with self._sessions.begin() as session:
                await _store(session, event, message)
        except BaseException:
            # FastStream logs it and goes on to the next event.
            self.done.set()
            raise
        self.left -= 1
        if not self.left:
            self.seconds += time.perf_counter() - self.began
            self.done.set()


async def _store(session: AsyncSession, event: CloudEvent, message: KafkaMessage) -> None:
    row = await session.get(ClaimRow, event.subject, with_for_update=True)
    now = datetime.now(UTC)
    told = codec.read(message.body, _micros(now))
    session.add(
        EventRow(
            claim_id=event.subject,
            identity=codec.identity(event.source, event.id),
            kind=told.kind,
            time=event.time,
            recorded_at=now,
            partition=message.raw_message.partition,  # type: ignore[union-attr]  # no batch
            offset=message.raw_message.offset,  # type: ignore[union-attr]
            body=message.body.decode(),
        )
    )
    claim = claim_rows.unpack(row.packed) if row else Claim()
    if lifecycle.can_step(claim, told):
        lifecycle.step(claim, told)
    else:
        logged = await session.scalars(select(EventRow).where(EventRow.claim_id == event.subject))
        claim = lifecycle.fold([codec.read(each.body, _micros(each.recorded_at)) for each in logged])
    if row is None:
        row = ClaimRow(claim_id=event.subject, version=0)
        session.add(row)
    row.version += 1
    row.state = claim.state
    row.payer = claim.payer
    row.open = is_open(claim)
    row.since = _instant(claim.history[-1].at_us if claim.history else None)
    row.waiting_since = _instant(min((wait.recorded_at_us for wait in claim.waiting), default=None))
    row.packed = claim_rows.pack(claim).decode()


def run(clock: Clock, settings: Settings, records: dict[str, int]) -> None:
    """Take ``records`` (by topic, in the order in which the topics are read), then end."""
    logging.basicConfig(level=logging.CRITICAL)
    _log.setLevel(logging.ERROR)
    sys.exit(uvloop.run(_run(clock, settings, records)))


async def _run(clock: Clock, settings: Settings, records: dict[str, int]) -> None:
    url = make_url(settings.database_url.get_secret_value()).set(drivername="postgresql+asyncpg")
    engine = create_async_engine(url, connect_args={"ssl": False, "server_settings": {"jit": "off"}})
    handlers = Handlers(async_sessionmaker(engine, expire_on_commit=False))
    clock.start()
    cpu = time.process_time()
    async with KafkaBroker(settings.kafka, logger=_log) as broker:
        for topic, count in records.items():
            handlers.expect(count)
            subscriber = broker.subscriber(topic, group_id=settings.group, auto_offset_reset="earliest")
            subscriber(handlers.take)
            await subscriber.start()
            await asyncio.wait_for(handlers.done.wait(), TOPIC_LIMIT_S)
            await subscriber.stop()
            if handlers.left:
                raise WrongWork(f"{handlers.left} events of {topic} are left")
        clock.stop(handlers.seconds, time.process_time() - cpu, {})
    await engine.dispose()


def _micros(instant: datetime) -> int:
    span = instant - _EPOCH
    return (span.days * 86_400 + span.seconds) * 1_000_000 + span.microseconds


def _instant(time_us: int | None) -> datetime | None:
    return None if time_us is None else datetime.fromtimestamp(time_us / 1_000_000, UTC)
