"""The auditor can fail: each of its sentences is said of a violation planted where it found nothing before."""

import ast
import asyncio
import re
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from functools import cache
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import asyncpg
import pytest
from confluent_kafka import Consumer, TopicPartition
from pydantic import SecretStr

from events import samples
from infra.devstack import Stack
from services import kafka
from services.settings import Settings
from tests.conftest import address_of, run_as_owner
from tests.faults import auditor
from tests.faults.auditor import audit, audit_committed, audit_metrics, audit_words
from tests.faults.evidence import QUIET, Kept, Log, PartitionLog, Tables, committed, read_log, read_tables, tables
from tests.faults.said import is_beyond_doubt
from tests.faults.said import said as read_record
from tests.faults.violations import PLANTS, Plant
from tests.running import caught_up, producer, publish, send, tracker

SEED = 20_261_126
CLAIMS = 60
RECORDS = 320
IN_TRANSACTIONS = 40
TROUBLES = samples.Switches(duplicates=0.15, conflicts=0.05, disorder=0.2, poison=0.3)
LIMIT_S = 30
MANY = 20_000
"""Records, each beside a gap."""
MANY_LIMIT_S = 5
ROOT = Path(__file__).parents[2]

# Reported of plain values, in the tests by these names; all others in PLANTS.
OF_VALUES = (
    "Kafka's offset of * * is *, ahead of *",
    "the metric * counted * where the tables got *",
    "* holds a canary",
)


class Clean(NamedTuple):
    """A world in which all is as promised."""

    settings: Settings
    topics: Sequence[str]
    log: Log
    before: Tables
    shown_before: str
    after: Tables
    shown_after: str
    said: str
    owner: asyncpg.Connection


@pytest.fixture(scope="module")
async def clean(stack: Stack, template_database: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Clean]:
    """What a real tracker made of records with every trouble, and of transactions, one of them aborted."""
    name = f"audited_{uuid.uuid4().hex[:12]}"
    await run_as_owner(stack, f"CREATE DATABASE {name} TEMPLATE {template_database}")
    url = address_of(stack, name)
    settings = Settings(
        kafka=stack.kafka,
        database_url=SecretStr(url),
        topic_prefix=f"{name}-",
        partitions=3,
        group=name,
        batch_records=50,
    )
    await kafka.create_topics(settings)
    topics = [*kafka.our_names(settings)]
    messages = [*islice(samples.stream(CLAIMS, SEED, TROUBLES), RECORDS)]
    said = tmp_path_factory.mktemp("audited") / "tracker.log"
    async with tracker(settings, said, breaker=False) as running:
        await publish(settings, messages[:1])
        await caught_up(settings, log=said)
        before, shown_before = await tables(url), await running.metrics()
        await publish(settings, messages[1:-IN_TRANSACTIONS])
        async with producer(settings, transactional_id=name) as client:
            await client.begin_transaction()
            await send(settings, client, messages[-IN_TRANSACTIONS:])
            await client.abort_transaction()
            async with client.transaction():
                await send(settings, client, messages[-IN_TRANSACTIONS:])
        await caught_up(settings, log=said)
        shown_after = await running.metrics()
        await running.stop()
    log = await asyncio.to_thread(read_log, stack.kafka, topics)
    owner = await asyncpg.connect(url, timeout=LIMIT_S, command_timeout=LIMIT_S)
    yield Clean(
        settings, topics, log, before, shown_before, await read_tables(owner), shown_after, running.said(), owner
    )
    await owner.close()
    await run_as_owner(stack, f"DROP DATABASE {name} WITH (FORCE)")


def told_by(sentence: str) -> re.Pattern[str]:
    """Return the pattern of a sentence in which ``*`` stands for anything."""
    return re.compile(".+".join(map(re.escape, sentence.split("*"))))


@cache
def templates() -> list[str]:
    """Return every sentence that the auditor's source can make, with ``*`` for what it fills in."""
    sentences = []
    for node in ast.walk(ast.parse(Path(auditor.__file__).read_text(encoding="utf-8"))):
        said = node.value if isinstance(node, ast.Yield) else node.elt if isinstance(node, ast.ListComp) else None
        if isinstance(said, ast.JoinedStr):
            sentences.append("".join(part.value if isinstance(part, ast.Constant) else "*" for part in said.values))  # type: ignore[misc]
        elif said is not None and isinstance(node, ast.Yield):
            pytest.fail(f"line {node.lineno} of the auditor says what this test cannot read")
    return sentences


def test_nothing_is_reported_where_all_is_as_promised(clean: Clean) -> None:
    """The auditor says nothing of what a real tracker made of duplicates, conflicts, poison and transactions."""
    assert audit(clean.log, clean.after) == []
    assert audit_metrics([clean.shown_before], [clean.shown_after], clean.before, clean.after) == []
    assert audit_words({f"CLM-{SEED}-", '"p_'}, {"log": clean.said, "metrics": clean.shown_after}) == []
    outcomes: Counter[str] = Counter()
    for row in clean.after.position:
        outcomes.update({name: row[name] for name in ("accepted", "duplicate", "dead_letter", "gap")})
    assert min(outcomes.values()) > 0
    assert len(clean.after.claim) > 1
    assert len(clean.after.rollup) > 1


@pytest.mark.parametrize("violation", PLANTS, ids=[f"{number} {each.sentence}" for number, each in enumerate(PLANTS)])
async def test_a_planted_violation_is_reported(clean: Clean, violation: Plant) -> None:
    """What somebody changed in the database is said, in the sentence that is meant for it."""
    transaction = clean.owner.transaction(isolation="repeatable_read")
    await transaction.start()
    try:
        for statement in violation.statements:
            status = await clean.owner.execute(statement)
            assert not status.endswith(" 0"), f"{statement} changed nothing"
        found = audit(clean.log, await read_tables(clean.owner))
    finally:
        await transaction.rollback()
    assert any(told_by(violation.sentence).fullmatch(sentence) for sentence in found), found


@pytest.mark.parametrize("sentence", templates())
def test_every_sentence_of_the_auditor_has_a_violation(sentence: str) -> None:
    """A check that nobody has seen fail is none."""
    planted = [*(each.sentence for each in PLANTS), *OF_VALUES]
    assert any(told_by(sentence).fullmatch(each) for each in planted)


def test_every_sentence_of_the_auditor_is_found() -> None:
    """The search for sentences finds what the violations say, and not less."""
    for each in [*(each.sentence for each in PLANTS), *OF_VALUES]:
        assert [sentence for sentence in templates() if told_by(sentence).fullmatch(each)], each


async def test_a_duplicate_counted_in_place_of_its_event_is_reported(clean: Clean) -> None:
    """Of two equal records of a partition the first is the event, and only the second a duplicate."""
    accepted = {(row["claim_id"], row["identity"]): row for row in clean.after.event}
    name, offset = next(
        ((told.claim_id, told.identity), kept.offset)
        for place, part in clean.log.items()
        for kept in part.records
        if (told := read_record(place[0], kept)) is not None
        and told.is_placed
        and (row := accepted.get((told.claim_id, told.identity))) is not None
        and row["partition"] == place[1]
        and row["offset"] < kept.offset
        and row["body"] == told.body
    )
    moved = [
        row | {"offset": offset} if (row["claim_id"], row["identity"]) == name else row for row in clean.after.event
    ]
    found = audit(clean.log, clean.after._replace(event=moved))
    assert any(sentence.endswith(" has no outcome: it is a duplicate of what comes later") for sentence in found), found


async def test_an_offset_ahead_of_the_position_is_reported(clean: Clean) -> None:
    """What Kafka was told is never ahead of what PostgreSQL has, nor where PostgreSQL has nothing at all."""
    place, part = next((place, part) for place, part in clean.log.items() if part.end)

    def kept() -> dict[tuple[str, int], int]:
        return committed(clean.settings.kafka, clean.settings.group, clean.topics)

    assert audit_committed(await asyncio.to_thread(kept), clean.after) == []
    consumer = Consumer({"bootstrap.servers": clean.settings.kafka, "group.id": clean.settings.group, **QUIET})
    try:
        consumer.commit(offsets=[TopicPartition(*place[:2], part.end + 1)], asynchronous=False)
    finally:
        await asyncio.to_thread(consumer.close)
    ahead = f"Kafka's offset of {place[0]} {place[1]} is {part.end + 1}, ahead of "
    assert audit_committed(await asyncio.to_thread(kept), clean.after) == [f"{ahead}{part.end}"]
    nothing = clean.after._replace(position=[row for row in clean.after.position if row["topic"] != place[0]])
    assert f"{ahead}no position" in audit_committed(await asyncio.to_thread(kept), nothing)


@pytest.mark.parametrize(
    ("sample", "name"),
    [
        (r'records_total\{outcome="accepted",topic="session-recorded"\}', "records session-recorded accepted"),
        (r'records_total\{outcome="gap",topic="payer-response"\}', "records payer-response gap"),
        (r'refusals_total\{reason="not_json",topic="claim-submitted"\}', "refusals claim-submitted not_json"),
        (r"conflicts_total", "conflicts  "),
    ],
)
def test_a_metric_that_counted_otherwise_is_reported(clean: Clean, sample: str, name: str) -> None:
    """Each number that a tracker shows must be what the tables got."""
    found = re.search(rf"^claimpath_{sample} (\S+)$", clean.shown_after, re.MULTILINE)
    assert found, clean.shown_after
    start, end = found.span(1)
    shown = f"{clean.shown_after[:start]}{float(found[1]) + 1}{clean.shown_after[end:]}"
    (told,) = audit_metrics([clean.shown_before], [shown], clean.before, clean.after)
    assert told_by(f"the metric {name} counted * where the tables got *").fullmatch(told)


def test_a_patients_word_is_reported() -> None:
    """Only the place is named, and not again the word."""
    assert audit_words({"p_77", "p_78"}, {"a log": "GET /claims p_77", "metrics": "up 1"}) == ["a log holds a canary"]


def test_what_kafka_deleted_unread_is_no_violation_once_it_is_told() -> None:
    """A lost gap accounts for records that the auditor has still seen; one of what Kafka has accounts for nothing."""
    records = [Kept(offset, b"CLM-1", b"no event") for offset in range(10)]
    log, found = of_one_partition(records, [(0, 6)], start=7)
    assert audit(log, found) == []
    log, found = of_one_partition(records, [(0, 6)], start=6)
    assert audit(log, found) == ["of-payer-response 0 has lost 6, which Kafka still has"]


def test_what_is_not_taken_yet_is_a_violation_only_where_all_must_be() -> None:
    """While records come in, trackers may be behind, and have partitions before them that nobody took yet."""
    records = [Kept(offset, b"CLM-1", b"no event") for offset in range(10)]
    log, found = of_one_partition(records[:8], [], start=0)
    log = {place: PartitionLog(0, 10, records) for place in [*log, ("of-payer-response", 1, 1)]}
    assert audit(log, found, whole=False) == []
    assert audit(log, found) == ["of-payer-response 0 is taken up to 8 of 10", "of-payer-response 1 was never taken"]


def test_many_gaps_are_audited_quickly() -> None:
    """Time grows with the records and the gaps, not with the one times the other."""
    records = [Kept(2 * number + 1, b"CLM-1", b"no event") for number in range(MANY)]
    log, found = of_one_partition(records, [(2 * number, 2 * number) for number in range(MANY)], start=2 * MANY)
    started = time.monotonic()
    assert audit(log, found) == []
    assert time.monotonic() - started < MANY_LIMIT_S


def of_one_partition(records: Sequence[Kept], lost: Sequence[tuple[int, int]], start: int) -> tuple[Log, Tables]:
    """Return a log of one partition, and tables in which every record not lost is a dead letter."""
    place = {"topic": "of-payer-response", "partition": 0, "generation": 1}
    gone = {offset for first, last in lost for offset in range(first, last + 1)}
    letters = [each for each in records if each.offset not in gone]
    end = max(each.offset for each in records) + 1
    counts = {"accepted": 0, "duplicate": 0, "dead_letter": len(letters), "gap": len(gone)}
    return {("of-payer-response", 0, 1): PartitionLog(start, end, records)}, Tables(
        event=[],
        claim=[],
        history=[],
        rollup=[],
        position=[place | {"start_offset": 0, "next_offset": end} | counts],
        gap=[place | {"first_offset": first, "last_offset": last, "kind": "lost"} for first, last in lost],
        dead_letter=[
            place | {"offset": each.offset, "key": each.key, "value": each.value, "headers": "[]", "reason": "not_json"}
            for each in letters
        ],
    )


def test_what_is_beyond_doubt_is_what_publishers_write_and_no_poison() -> None:
    """Every event of the samples is one that nobody may refuse, in whatever form; what poison spoilt never is."""
    for message in islice(samples.stream(CLAIMS * 5, SEED, TROUBLES), 3000):
        kept = Kept(0, message.key, message.value, message.headers)
        doubtless = is_beyond_doubt(kept, read_record(message.topic, kept))
        assert doubtless == (message.intended != "poison"), (SEED, message)


def test_the_auditor_shares_no_line_with_what_it_audits() -> None:
    """Neither the auditor nor what it stands on imports a word of the product."""
    seen: set[str] = set()
    waiting = ["tests.faults.auditor"]
    while waiting:
        module = waiting.pop()
        if module in seen:
            continue
        seen.add(module)
        path = ROOT.joinpath(*module.split(".")).with_suffix(".py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names: list[str] = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)]
            ours = [name for name in names if ROOT.joinpath(*name.split(".")).with_suffix(".py").exists()]
            waiting += ours
            strangers = [name for name in names if name.split(".")[0] in {"events", "services", "infra"}]
            assert strangers == [], module
    assert {"tests.faults.evidence", "tests.faults.said", "tests.faults.retold_story"} <= seen
