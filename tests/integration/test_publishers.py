"""The publishers on the events' reference page, run as they are printed there."""

import asyncio
import re
import sys
from pathlib import Path

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from events import reference
from events.codec import Decoded, decode, type_of_data
from events.topics import TOPICS
from tests.running import read

PUBLISHERS = re.findall(r"```python\n(.*?)```", reference.PAGE.read_text("utf-8"), re.DOTALL)
LINES = [
    line
    for event_type in type_of_data
    for line in (reference.HERE / "examples" / f"{event_type}.jsonl").read_text("utf-8").splitlines()
]
PUBLISH_S = 60


@pytest.mark.parametrize("source", PUBLISHERS, ids=["aiokafka", "confluent-kafka"])
async def test_a_copied_publisher_publishes_events(
    source: str, kafka: str, kafka_admin: AIOKafkaAdminClient, topic_prefix: str, tmp_path: Path
) -> None:
    """What the page prints publishes every example so that the codec takes it from its topic."""
    names = {topic_prefix + topic: topic for topic in TOPICS}
    await kafka_admin.create_topics([NewTopic(name, 2, 1) for name in names])
    for name, topic in names.items():
        source = source.replace(f'"{topic}"', f'"{name}"')
    program = tmp_path / "publish.py"
    program.write_text(source)
    process = await asyncio.create_subprocess_exec(sys.executable, program, kafka, stdin=asyncio.subprocess.PIPE)
    await asyncio.wait_for(process.communicate("".join(f"{line}\n" for line in LINES).encode()), PUBLISH_S)
    assert process.returncode == 0

    records = await read(kafka, names, len(LINES))
    assert [record.topic for record in records if not isinstance(decode(record), Decoded)] == []
    assert sorted((record.value or b"").decode() for record in records) == sorted(LINES)
    assert {record.topic for record in records} == set(TOPICS)
