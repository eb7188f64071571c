"""Events on their way over HTTP: good ones, one for each refusal, and how a request carries them."""

import json
import re

from tests.contract_example import PUBLISHED

TOKEN = "a-token-of-the-tests"
BEARER = {"authorization": f"Bearer {TOKEN}"}
SINGLE = {"content-type": "application/cloudevents+json"}
BATCH = {"content-type": "application/cloudevents-batch+json"}
EVENTS = [line.encode() for line in PUBLISHED.split("\n") if line]
# Every free text of the examples, short ones too.
FREE = re.compile(
    rb"CLM-000123|s-0017-1|sub-1|277ca-[12]|835-1|/(?:ehr|billing|clearinghouse)/|S-0017|PPO-2026|p_5b1f0c9e|A-88211"
    rb"|M54\.50|SUB-1|CH-01|EFT-77120|26064A0001"
)


def batch(*events: bytes) -> bytes:
    """A JSON array of them, with blanks that are no part of any."""
    return b"[ " + b" ,\r\n\t".join(events) + b" ]"


def changed(event: bytes, before: str, after: str) -> bytes:
    """The event with other words in it."""
    assert before.encode() in event
    return event.replace(before.encode(), after.encode())


def in_headers(event: bytes) -> tuple[dict[str, str], bytes]:
    """Headers and body of an event in binary mode."""
    whole = json.loads(event)
    attributes = {f"ce-{name}": whole[name] for name in ("specversion", "id", "source", "type", "subject", "time")}
    return {"content-type": "application/json", **attributes}, event.partition(b'"data":')[2][:-1]


INVALID = changed(EVENTS[1], '"130.00"', '"130.005"')
# Each with the reason for which it is refused.
REFUSED = [
    ("duplicate_key", changed(EVENTS[1], '"id":"sub-1"', '"id":"sub-1","id":"sub-2"')),
    ("bad_text", changed(EVENTS[1], "CH-01", "\\u0000")),
    ("bad_text", changed(EVENTS[1], "CH-01", "\\ud800")),
    ("bad_text", EVENTS[1].replace(b"CH-01", b"\xff")),
    ("too_deep", changed(EVENTS[1], '"data":{', '"data":{"x":' + "[" * 5000 + "]" * 5000 + ",")),
    ("too_large", changed(EVENTS[1], "CH-01", "x" * 262_144)),
    ("not_json", changed(EVENTS[1], '"data":{', '"data":{"x":NaN,')),
    ("not_json", b'{"id" "x"}'),
    ("no_value", b""),
    ("not_cloudevent", b"null"),
    ("unknown_version", changed(EVENTS[1], "submitted.v1", "submitted.v2")),
    ("unknown_type", changed(EVENTS[1], "claim.submitted.v1", "claim.paid.v1")),
    ("invalid", INVALID),
]
