"""No word of a patient's leaves the database: the tracker's log and metrics and both servers' logs hold none."""

import uuid
from pathlib import Path
from typing import Any, Literal

import msgspec
import pytest

from events import samples
from events.codec import Record
from events.simulation.troubles import POISONS, contradicted
from infra.devstack import Stack
from services import kafka
from services.settings import Settings
from tests.running import caught_up, outcomes, publish, publish_elsewhere, refuse, rows, tracker

# Texts of an event that are free; the short ones hold the canary and no more.
FREE = {"id", "source", "subject", "session_id", "patient_ref", "plan", "submission_id", "payer_claim_number", "trace"}
FREE_AND_SHORT = {"diagnoses", "remarks", "number", "clearinghouse"}


def marked(node: Any, canary: str, name: str = "") -> Any:  # noqa: ANN401  (any JSON)
    """Return an event's JSON with the canary in every free text."""
    if isinstance(node, dict):
        return {key: marked(value, canary, key) for key, value in node.items()}
    if isinstance(node, list):
        return [marked(value, canary, name) for value in node]
    return f"{canary}-{node}" if name in FREE else canary if name in FREE_AND_SHORT else node


def record_of(message: Record, canary: str) -> Record:
    """Return the record with the canary in key, value and headers."""
    event = marked(msgspec.json.decode(message.value or b""), canary)
    event["data"]["patient_name"] = canary
    event["tenant"] = canary
    headers = [(canary, canary.encode()), ("content-type", b"application/cloudevents+json")]
    return Record(message.topic, event["subject"].encode(), msgspec.json.encode(event), headers)


@pytest.mark.parametrize("log_format", ["json", "text"])
async def test_no_word_of_an_event_leaves_the_database(
    stack: Stack, settings: Settings, tmp_path: Path, log_format: Literal["json", "text"]
) -> None:
    """Refusals of every kind, conflicts, records that PostgreSQL refuses, retries and collisions put neither a payload
    nor a name nor an id, of a claim or anything else, into a log, a metric or what is told of a dead letter.
    """
    await kafka.create_topics(settings)
    await refuse(settings)
    canary, log = f"cnry{uuid.uuid4().hex[:6]}", tmp_path / "tracker.log"
    facts = [record_of(message, canary) for message in samples.stream(40, 13)]
    troubles = [poison.spoil(fact) for fact, poison in zip(facts, POISONS.values(), strict=False)]
    troubles += [contradicted(fact) for fact in facts[:20]]
    refused = msgspec.json.decode(facts[0].value or b"") | {"subject": f"{canary}-REFUSED", "id": f"{canary}-r"}
    troubles.append(Record(facts[0].topic, f"{canary}-REFUSED".encode(), msgspec.json.encode(refused)))
    async with tracker(settings, log, log_format=log_format) as running:
        await publish(settings, facts[::2])
        await rows(settings, "REVOKE INSERT ON event FROM claimpath_tracker")
        publish_elsewhere(settings, [*facts[1::2], *facts])
        await publish(settings, troubles)
        await running.says("InsufficientPrivilegeError")
        await rows(settings, "GRANT INSERT ON event TO claimpath_tracker")
        await caught_up(settings, log=log)
        shown = await running.metrics()
        await running.stop()
    found = await outcomes(settings)
    assert (found.accepted, found.records) == (len(facts), 2 * len(facts) + len(troubles))
    servers = {server.name: server.log.read_text(errors="replace") for server in stack.status()}
    assert "ERROR:  refused" in servers["postgres"]
    assert servers["kafka"]
    told = str(await rows(settings, "SELECT reason, path, rule FROM dead_letter"))
    for place, text in {**servers, "tracker": running.said(), "metrics": shown, "dead letters": told}.items():
        assert canary not in text, place
