"""That what was refused is kept as it came, is shown to who asks, and can be published again."""

import asyncio
import base64
import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import MessageSizeTooLargeError

from events.codec import Record, decode
from events.topics import TOPICS
from services import dead_letters, kafka
from services.dead_letters import CannotReplay, Letter, list_letters, replay, replay_edited, show
from services.publish import TopicsUnfit
from services.settings import Settings
from services.verify import verify
from tests.stored import record, run_sql, store_events, store_records
from tests.stories import CLAIM, body, original, response, session

POISON = [
    Record("session-recorded", b"A", b'{"specversion"', [("trace", b"\xff\x00"), ("trace", None), ("x", b"")]),
    Record("session-recorded", None, b"\x80\x81"),
    Record("session-recorded", b"\xff", None),
    Record("claim-submitted", b"B", b""),
    Record("payer-response", None, None),
    record(session()),
]
WRONG = Record("session-recorded", b"wrong", body(session(event_id="s-1")).encode())
ANSWER = body(response("accepted", claim_id="C")).encode()
RECEIVE_LIMIT_S = 20
LARGER_THAN_TOPICS_TAKE = 2_000_000


async def poison(settings: Settings) -> list[Letter]:
    """Store poison among an event, and return its letters from the first."""
    await store_events(settings, [original()])
    await store_records(settings, POISON)
    return (await list_letters(settings)).letters[::-1]


async def received(settings: Settings, count: int) -> list[ConsumerRecord[Any, Any]]:
    """What a plain consumer reads from the start of the three topics, which hold so many records and no more."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=settings.kafka, auto_offset_reset="earliest", enable_auto_commit=False
    )
    await consumer.start()
    try:
        partitions = [
            TopicPartition(kafka.topic(settings, name), partition)
            for name in TOPICS
            for partition in range(settings.partitions)
        ]
        consumer.assign(partitions)
        ends: dict[TopicPartition, int] = await consumer.end_offsets(partitions)
        assert sum(ends.values()) == count
        found: list[ConsumerRecord[Any, Any]] = []
        async with asyncio.timeout(RECEIVE_LIMIT_S):
            while len(found) < count:
                found += [each for some in (await consumer.getmany(timeout_ms=200)).values() for each in some]
        return found
    finally:
        await consumer.stop()


def parts(settings: Settings, each: ConsumerRecord[Any, Any]) -> tuple[Any, ...]:
    """What of a record must be as it was."""
    return each.topic.removeprefix(settings.topic_prefix), each.key, each.value, list(each.headers)


async def test_letters_are_listed_from_the_latest(settings: Settings) -> None:
    """Each says where it stood and why it was refused, and holds nothing of what it was."""
    letters = await poison(settings)
    assert [(each.topic.removeprefix(settings.topic_prefix), each.partition, each.offset) for each in letters] == [
        ("claim-submitted", 0, 1),
        ("payer-response", 0, 0),
        *[("session-recorded", 0, offset) for offset in (0, 1, 2)],
    ]
    assert [each.reason for each in letters] == ["no_value", "no_value", "not_json", "bad_text", "no_value"]
    assert {each.replayed_at for each in letters} == {None}
    assert "specversion" not in str(letters)
    few = await list_letters(settings, reason="no_value", limit=2)
    assert (few.total, [each.id for each in few.letters]) == (3, [letters[4].id, letters[1].id])
    assert await list_letters(settings, reason="conflict") == dead_letters.Listing(0, [])


async def test_a_letter_is_shown_as_it_was_received(settings: Settings) -> None:
    """Text is text, and what could steer a terminal, or is no text, is base64."""
    letters = await poison(settings)
    opened = [await show(settings, letter.id) for letter in letters]
    told = json.loads(json.dumps([each and (each.key, each.value, each.headers) for each in opened]))
    nothing: dict[str, str] = {"text": ""}
    assert told == [
        [{"text": "B"}, nothing, []],
        [None, None, []],
        [{"text": "A"}, {"text": '{"specversion"'}, [["trace", {"base64": "/wA="}], ["trace", None], ["x", nothing]]],
        [None, {"base64": "gIE="}, []],
        [{"base64": "/w=="}, None, []],
    ]
    escape = Record("payer-response", "ü".encode(), b'{"a":\n\t"\x1b[31m"}')
    await store_records(settings, [escape])
    latest = await show(settings, (await list_letters(settings)).letters[0].id)
    assert latest is not None
    assert latest.key == {"text": "ü"}
    assert latest.value == {"base64": base64.b64encode(escape.value or b"").decode()}
    assert await show(settings, 1_000_000) is None


async def test_all_letters_are_published_again_as_they_were(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Topic, key, value and headers come back to the byte; then the letters count as replayed, and are not gone."""
    monkeypatch.setattr(dead_letters, "REPLAYED_AT_ONCE", 2)
    await kafka.create_topics(settings)
    letters = await poison(settings)
    seen: list[tuple[int, int]] = []
    done = await replay(settings, progress=lambda count, total: seen.append((count, total)))
    assert done == dead_letters.Replayed(published=4, left=1)
    assert seen == [(2, 5), (4, 5)]
    found = [parts(settings, each) for each in await received(settings, 4)]
    sendable = [(each.topic, each.key, each.value, list(each.headers)) for each in POISON if each.key or each.value]
    assert sorted(found, key=str) == sorted(sendable[:-1], key=str)
    left = await list_letters(settings)
    assert [each.id for each in left.letters] == [letters[1].id], "neither key nor value: no client of ours can send it"
    everything = await list_letters(settings, replayed=True)
    assert everything.total == len(letters)
    assert all((each.replayed_at is None) == (each.id == letters[1].id) for each in everything.letters)
    assert await replay(settings) == dead_letters.Replayed(published=0, left=1)
    assert (await verify(settings)).differences == []


async def test_only_what_is_asked_for_is_published_again(settings: Settings) -> None:
    """By reason or by id; and what went out before only by force."""
    await kafka.create_topics(settings)
    letters = await poison(settings)
    assert (await replay(settings, reason="not_json")).published == 1
    assert (await replay(settings, [letters[0].id, letters[3].id])).published == 2
    with pytest.raises(CannotReplay, match=rf"^Nothing was replayed: {letters[0].id} went out before: --force"):
        await replay(settings, [letters[0].id, letters[4].id])
    assert (await replay(settings, [letters[0].id, letters[4].id], force=True)).published == 2
    assert (await replay(settings, [])).published == 0
    values = [each.value for each in await received(settings, 5)]
    assert sorted(map(str, values)) == sorted(map(str, [b'{"specversion"', b"", b"", b"\x80\x81", None]))


async def test_what_cannot_be_sent_is_refused_before_anything_is(settings: Settings) -> None:
    """Ids that are not there, letters of other topics, and records that are empty of key and value."""
    await kafka.create_topics(settings)
    letters = await poison(settings)
    await run_sql(settings, f"UPDATE dead_letter SET topic = 'elsewhere' WHERE dead_letter_id = {letters[2].id}")
    good = letters[0].id
    for other, why in (
        (77_777, "there is no dead letter 77777"),
        (letters[1].id, f"{letters[1].id} has neither key nor value"),
        (letters[2].id, f"the topic of {letters[2].id} is none of these settings'"),
    ):
        with pytest.raises(CannotReplay, match=why):
            await replay(settings, [good, other])
    assert await received(settings, 0) == []
    assert (await list_letters(settings)).total == len(letters)
    assert await replay(settings) == dead_letters.Replayed(published=3, left=2)


async def test_an_edited_event_takes_the_place_of_a_letter(settings: Settings) -> None:
    """What the codec accepts goes out with the letter's key and headers, or with its own where those were wrong."""
    await kafka.create_topics(settings)
    mended = body(session(claim_id="A", event_id="s-2")).encode()
    letters = await poison(settings)
    await store_records(settings, [WRONG])
    wrong = (await list_letters(settings)).letters[0]
    assert wrong.reason == "key_mismatch"
    assert WRONG.value is not None
    await replay_edited(settings, letters[2].id, mended)
    await replay_edited(settings, wrong.id, WRONG.value)
    await replay_edited(settings, letters[1].id, ANSWER)
    found = sorted((parts(settings, each) for each in await received(settings, 3)), key=str)
    own = [("content-type", b"application/cloudevents+json")]
    assert found == [
        ("payer-response", b"C", ANSWER, own),
        ("session-recorded", b"A", mended, POISON[0].headers),
        ("session-recorded", CLAIM.encode(), WRONG.value, own),
    ]
    for topic, key, value, headers in found:
        assert decode(Record(topic, key, value, headers)).__class__.__name__ == "Decoded"
    with pytest.raises(CannotReplay, match="went out before"):
        await replay_edited(settings, wrong.id, WRONG.value)
    await replay_edited(settings, wrong.id, WRONG.value, force=True)


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (b"", "no_value at"),
        (b"\xff", "bad_text at"),
        (b"{", "not_json at"),
        (b"[1]", "not_cloudevent at"),
    ],
)
async def test_an_edited_event_that_would_be_refused_is_not_sent(settings: Settings, value: bytes, why: str) -> None:
    """An edit must not make the next dead letter."""
    await kafka.create_topics(settings)
    letters = await poison(settings)
    with pytest.raises(CannotReplay, match=f"^The edited event would be refused: {why}"):
        await replay_edited(settings, letters[2].id, value)
    assert await received(settings, 0) == []
    assert (await list_letters(settings)).total == len(letters)


async def test_an_edited_event_goes_to_the_topic_of_its_type(settings: Settings) -> None:
    """An event that was published to another type's topic is mended by sending it to its own."""
    await kafka.create_topics(settings)
    letters = await poison(settings)
    submitted = body(original(claim_id="A")).encode()
    await replay_edited(settings, letters[2].id, submitted)
    (sent,) = [parts(settings, each) for each in await received(settings, 1)]
    assert sent[:3] == ("claim-submitted", b"A", submitted)


async def test_nothing_is_marked_that_kafka_did_not_take(settings: Settings) -> None:
    """Without its topics nothing can be published, and every letter stays open."""
    letters = await poison(settings)
    with pytest.raises(TopicsUnfit):
        await replay(settings)
    assert (await list_letters(settings)).total == len(letters)


async def test_a_letter_that_kafka_does_not_take_stays_open(settings: Settings) -> None:
    """Only what Kafka acknowledged counts as published: a record too large for its topic is told, and none marked."""
    await kafka.create_topics(settings)
    large = Record("claim-submitted", b"L", b"x" * LARGER_THAN_TOPICS_TAKE)
    await store_records(settings, [large, POISON[0]])
    with pytest.raises(MessageSizeTooLargeError):
        await replay(settings)
    assert (await list_letters(settings)).total == 2


async def test_a_replay_ends_though_its_letters_come_back(settings: Settings) -> None:
    """A letter refused again is a new one of a higher id, and is left for the next time."""
    await kafka.create_topics(settings)
    await poison(settings)

    def refuse_again(_done: int, _total: int) -> None:
        with ThreadPoolExecutor() as elsewhere:
            elsewhere.submit(asyncio.run, store_records(settings, POISON[:1])).result(RECEIVE_LIMIT_S)

    assert (await replay(settings, reason="not_json", progress=refuse_again)).published == 1
    assert (await list_letters(settings, reason="not_json")).total == 1


async def test_an_operator_can_mark_letters_and_nothing_else(settings: Settings) -> None:
    """The role that replays neither changes nor deletes what was received, and sees no claim."""
    await poison(settings)
    allowed = """
        SELECT privilege_type, column_name FROM information_schema.column_privileges
        WHERE grantee = 'claimpath_operator' AND privilege_type <> 'SELECT'
    """
    assert await run_sql(settings, allowed) == [("UPDATE", "replayed_at")]
    tables = """
        SELECT table_name, privilege_type FROM information_schema.table_privileges
        WHERE grantee = 'claimpath_operator' ORDER BY 1
    """
    assert await run_sql(settings, tables) == [("alembic_version", "SELECT"), ("dead_letter", "SELECT")]
