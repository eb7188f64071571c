"""The tracker on bad days: crowded, cut off, refused by PostgreSQL, asked to end, or standing still."""

import asyncio
import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from aiokafka.admin import AIOKafkaAdminClient
from pydantic import SecretStr

from events import samples
from events.topics import TOPICS
from infra.devstack import Stack
from services import database, kafka
from services.settings import Settings
from tests.faults.postgres_faults import frozen
from tests.running import (
    Outcomes,
    caught_up,
    committed_is_never_ahead,
    make_topic,
    nothing_differs,
    outcomes,
    publish,
    publishing,
    refuse,
    rows,
    supervised,
    tracker,
    until,
)
from tests.stored import record
from tests.stories import original, session

TROUBLES = samples.Switches(duplicates=0.1, disorder=0.1, lateness=0.05, conflicts=0.02, poison=0.05)


@pytest.fixture(scope="module")
def own_stack() -> Iterator[Stack]:
    """Servers that a test may stop."""
    with Stack(quick_jit=True) as running:
        yield running


@pytest.fixture
async def own(own_stack: Stack) -> Settings:
    """What a process is told that uses the servers that a test may stop."""
    settings = Settings(kafka=own_stack.kafka, database_url=SecretStr(own_stack.database_url), partitions=3)
    await database.migrate(settings)
    await kafka.create_topics(settings)
    return settings


def expected(messages: list[samples.Message]) -> Outcomes:
    """The outcomes that the messages must have."""
    intended = Counter(message.intended for message in messages)
    return Outcomes(intended["event"], intended["duplicate"], intended["conflict"] + intended["poison"], 0)


@pytest.mark.usefixtures("topics")
async def test_two_share_the_work(settings: Settings, tmp_path: Path) -> None:
    """Two trackers divide the partitions; when one is stopped the other has all of them within seconds, and rebalances
    in the middle of batches lose nothing.
    """
    messages = [*samples.stream(300, 6, TROUBLES)]
    logs = [tmp_path / f"{name}.log" for name in "ab"]
    async with publishing(settings, messages, 250), tracker(settings, logs[0], batch_records=20) as first:
        await first.says('"count": 9')
        async with tracker(settings, logs[1], batch_records=20) as second:
            await second.says("partitions assigned")
            await first.says('"count": 6') if '"count": 3' in second.said() else await first.says('"count": 3')
            await committed_is_never_ahead(settings)
            await first.stop()
            moved_s = await until(lambda: '"count": 9' in second.said(), 10, "the partitions to move", logs[1])
            await caught_up(settings, log=logs[1])
    async with tracker(settings, logs[0], group=f"{settings.group}-last"):
        await caught_up(settings, log=logs[0])
    print(f"partitions moved {moved_s:.1f} s after SIGTERM")
    assert await outcomes(settings) == expected(messages)
    await nothing_differs(settings)


@pytest.mark.usefixtures("topics")
async def test_asked_to_end_while_busy_or_joining_it_ends(settings: Settings, tmp_path: Path) -> None:
    """SIGTERM ends a tracker within 15 s with what it has begun written, in the middle of a backlog; and so it does
    before it has any partition, because another member of the group does not answer.
    """
    messages = [*samples.stream(3_000, 8, TROUBLES)]
    await publish(settings, messages)
    logs = [tmp_path / f"{name}.log" for name in "abcd"]
    async with tracker(settings, logs[0], batch_records=200) as busy:
        await until(lambda: _any_outcome(settings), 20, "some work", logs[0])
        busy_s = await busy.stop()
    assert (await outcomes(settings)).records < len(messages)
    async with tracker(settings, logs[1]) as silent:
        await silent.says("partitions assigned")
        silent.send(signal.SIGSTOP)
        async with tracker(settings, logs[2]) as joining:
            await until(joining.metrics_answer, 20, "a tracker to join", logs[2])
            await asyncio.sleep(1)
            joining_s = await joining.stop()
    async with tracker(settings, logs[3], group=f"{settings.group}-other"):
        await caught_up(settings, log=logs[3])
    print(f"ended in {busy_s:.1f} s while busy, {joining_s:.1f} s while joining")
    assert "partitions assigned" not in joining.said()
    assert await outcomes(settings) == expected(messages)


async def _any_outcome(settings: Settings) -> bool:
    return (await outcomes(settings)).records > 0


async def test_asked_to_end_it_ends_whatever_is_away(own: Settings, own_stack: Stack, tmp_path: Path) -> None:
    """SIGTERM ends a tracker within 15 s while PostgreSQL or Kafka is away, and while PostgreSQL hangs."""
    messages = [*samples.stream(50, 9, TROUBLES)]
    logs = [tmp_path / f"{name}.log" for name in "abc"]
    took = {}
    async with (
        tracker(own, logs[0], group="a") as first,
        tracker(own, logs[1], group="b") as second,
        tracker(own, logs[2], group="c") as third,
    ):
        for each in (first, second, third):
            await each.says('"count": 9')
        own_stack.stop_postgres()
        await publish(own, messages)
        await asyncio.sleep(2)
        took["PostgreSQL is away"] = await first.stop()
        own_stack.start_postgres()
        await caught_up(own, log=logs[1])
        with frozen(own_stack):
            await publish(own, messages)
            own_stack.stop_kafka()
            await asyncio.sleep(2)
            took["PostgreSQL hangs and Kafka is away"] = await second.stop()
        took["Kafka is away"] = await third.stop()
    print(took)


@pytest.mark.usefixtures("topics")
@pytest.mark.expects_error_logs  # our publisher says that the topic is gone
async def test_a_topic_made_anew_is_read_again(
    settings: Settings, tmp_path: Path, kafka_admin: AIOKafkaAdminClient
) -> None:
    """A topic that was deleted and made again begins a new generation and is read from its start: at the next start,
    and when it happens below a running tracker, by that one, or by the next after it has ended itself.
    """
    log = tmp_path / "tracker.log"
    name = kafka.topic(settings, TOPICS[0])
    first, then, last = ([record(session(claim_id=f"CLM-{n}")) for n in range(count)] for count in (30, 9, 3))
    async with tracker(settings, log) as running:
        await publish(settings, [*first, record(original())])
        await caught_up(settings, log=log)
        await running.stop()
    await made_anew(kafka_admin, settings, name)
    await publish(settings, then)
    async with supervised(settings, log):
        await until(lambda: _accepted(settings, 40), 20, "all to be accepted", log)
        await made_anew(kafka_admin, settings, name)
        await publish(settings, last)
        took_s = await until(lambda: _accepted(settings, 43), 60, "all to be accepted", log)
    print(f"read {took_s:.1f} s after the topic was made anew")
    generations = "SELECT max(generation), count(*) FROM position WHERE topic = :topic"
    assert await rows(settings, generations, topic=name) == [(3, 9)]
    assert log.read_text().count("topic was made anew") == 6
    assert await outcomes(settings) == Outcomes(43, 0, 0, 0)
    await nothing_differs(settings)


async def made_anew(admin: AIOKafkaAdminClient, settings: Settings, name: str) -> None:
    """Delete a topic and make it again."""
    await admin.delete_topics([name])
    await make_topic(admin, settings, TOPICS[0])


async def _accepted(settings: Settings, count: int) -> bool:
    return (await outcomes(settings)).accepted == count


@pytest.mark.usefixtures("topics")
async def test_what_postgres_refuses_is_found_and_what_passes_is_waited_out(settings: Settings, tmp_path: Path) -> None:
    """A record that the database cannot store becomes a dead letter and all around it goes on; an error that is not the
    record's fault condemns none, however long it takes, and is no silence for the watchdog.
    """
    log = tmp_path / "tracker.log"
    await refuse(settings)
    messages = [*samples.stream(60, 12)]
    refused = [record(session(claim_id=f"CLM-{number}-REFUSED")) for number in range(3)]
    for number, bad in enumerate(refused):
        messages.insert(50 * number, samples.Message(bad.topic, bad.key, bad.value))
    await publish(settings, messages)
    fast = "import services.lanes; services.lanes.LONGEST_PAUSE_S = 0.5"
    async with tracker(settings, log, fast, stall_limit_s=5) as running:
        await caught_up(settings, log=log)
        kept = await rows(settings, "SELECT reason, path, rule, value FROM dead_letter")
        assert {tuple(letter) for letter in kept} == {
            ("unprocessable", "$", "it cannot be stored: InvalidParameterValueError 22023", bad.value)
            for bad in refused
        }
        await rows(settings, "REVOKE INSERT ON event FROM claimpath_tracker")
        await publish(settings, [record(original())])
        await asyncio.sleep(6.5)  # longer than a silent tracker would be let alone
        assert running.code() is None, running.said()
        await rows(settings, "GRANT INSERT ON event TO claimpath_tracker")
        await caught_up(settings, log=log)
        await running.stop()
    assert "InsufficientPrivilegeError 42501" in running.said()
    assert await outcomes(settings) == Outcomes(len(messages) - 3 + 1, 0, 3, 0)
    await nothing_differs(settings)


NEEDS_LAG = ("the handler hangs", "the client is silent")
STALLS = {
    "the handler hangs": "async def stuck(*_): await asyncio.sleep(3600)\nservices.tracker.Tracker.take = stuck",
    "the client is silent": "async def silent(*_, **__): await asyncio.sleep(0.1); return {}\n"
    "aiokafka.AIOKafkaConsumer.getmany = silent",
    "its questions hang too": "async def hang(*_, **__): await asyncio.sleep(3600)\n"
    "aiokafka.AIOKafkaConsumer.getmany = aiokafka.AIOKafkaConsumer.end_offsets = hang",
    "the heartbeat fails": "async def fail(*_): raise KeyError\nservices.tracker.Tracker._look = fail",
    "the group never answers": "async def hang(*_): await asyncio.sleep(3600)\n"
    "aiokafka.consumer.group_coordinator.GroupCoordinator._do_rejoin_group = hang",
}


@pytest.mark.usefixtures("topics")
async def test_a_tracker_that_stands_still_ends_itself(settings: Settings, tmp_path: Path) -> None:
    """While there is lag, or no place in the group, silence of any part ends the tracker with exit code 70."""
    imports = "import asyncio, aiokafka.consumer.group_coordinator, services.tracker"
    async with AsyncExitStack() as running:
        stalled = {
            name: await running.enter_async_context(
                tracker(
                    settings,
                    tmp_path / f"{name}.log",
                    f"{imports}\n{stall}",
                    group=f"{settings.group} {name}",
                    stall_limit_s=8,
                )
            )
            for name, stall in STALLS.items()
        }
        for name in NEEDS_LAG:
            await stalled[name].says("partitions assigned")
        await publish(settings, [record(session())])
        codes = {name: await each.ended(30) for name, each in stalled.items()}
    assert codes == dict.fromkeys(STALLS, 70)


@pytest.mark.usefixtures("topics")
async def test_a_tracker_whose_fetching_failed_ends_in_order(settings: Settings, tmp_path: Path) -> None:
    """Asked to end, a tracker ends with 0, although its client tells only then that it had stopped fetching."""
    fails = "async def fail(*_): raise RuntimeError\naiokafka.consumer.fetcher.Fetcher._fetch_requests_routine = fail"
    log = tmp_path / "tracker.log"
    async with tracker(settings, log, f"import aiokafka.consumer.fetcher\n{fails}") as running:
        await running.says("partitions assigned")
        await running.stop()
    assert "the group was not left in order" in running.said()


HANDLER_CLOSED = """
import services.store
write, calls = services.store._write_events, []
async def fail_once(*given):
    calls.append(given)
    if len(calls) == 1:
        raise RuntimeError("unable to perform operation on <TCPTransport closed=True>; the handler is closed")
    await write(*given)
services.store._write_events = fail_once
"""


@pytest.mark.usefixtures("topics")
async def test_a_connection_that_the_loop_closed_condemns_no_record(settings: Settings, tmp_path: Path) -> None:
    """A record alone in its batch is tried again where uvloop, and not PostgreSQL, says that the connection is lost."""
    log = tmp_path / "tracker.log"
    async with tracker(settings, log, HANDLER_CLOSED) as running:
        await publish(settings, [record(session())])
        await caught_up(settings, log=log)
        await running.stop()
    assert "batch is tried again" in running.said()
    assert await outcomes(settings) == Outcomes(1, 0, 0, 0)
