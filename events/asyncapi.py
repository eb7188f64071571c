"""The contract as an AsyncAPI 3.0 document, and the few lines of YAML that it is written in."""

import json
import re
from typing import Any, Final

from events.codec import type_of_data
from events.contracts import MAX_ID_CHARS
from events.topics import TYPE_OF_TOPIC

STRUCTURED: Final = "application/cloudevents+json"
BINARY: Final = "application/json"
# The version of the Kafka binding whose fields are used below.
_BINDING: Final = {"bindingVersion": "0.5.0"}
_LINE: Final = 120
# A key that YAML 1.1 would read as a boolean or null, or that is no plain word, stands in quotes.
_PLAIN_KEY: Final = re.compile(r"(?!(?:y|n|yes|no|on|off|true|false|null)$)[A-Za-z$][\w.$-]*", re.IGNORECASE)

Node = dict[str, Any]


def document(examples: dict[str, list[Node]]) -> Node:
    """Return the AsyncAPI document; ``examples`` are the CloudEvents of each event type."""
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "claimpath events",
            "version": "1",
            "description": "What claimpath reads from Kafka. The three topics have the same number of partitions; "
            "a record's key is its claim's id. Rules, limits and refusals: README.md beside this file.",
        },
        "defaultContentType": STRUCTURED,
        "channels": {topic: _channel(topic, event_type) for topic, event_type in TYPE_OF_TOPIC.items()},
        "operations": {
            f"receive-{topic}": _operation(topic, event_type) for topic, event_type in TYPE_OF_TOPIC.items()
        },
        "components": {
            "messages": {
                name: message
                for event_type in TYPE_OF_TOPIC.values()
                for name, message in _messages(event_type, examples[event_type]).items()
            },
            "schemas": {"structuredHeaders": _structured_headers(), "binaryHeaders": _binary_headers()},
        },
    }


def yaml(node: object, indent: int = 0) -> str:
    """Return a JSON value as YAML, the same bytes every time: what fits on a line is JSON on it, the rest in blocks."""
    if isinstance(node, dict):
        leads = [f"{key}:" if _PLAIN_KEY.fullmatch(key) else f"{json.dumps(key)}:" for key in node]
        parts = list(node.values())
    elif isinstance(node, list):
        leads, parts = ["-"] * len(node), node
    else:
        return json.dumps(node, ensure_ascii=False) + "\n"
    lines = []
    for lead, part in zip(leads, parts, strict=True):
        start, flow = "  " * indent + lead, json.dumps(part, ensure_ascii=False)
        if not isinstance(part, dict | list) or len(start) + len(flow) < _LINE:
            lines.append(f"{start} {flow}\n")
        else:
            block = yaml(part, indent + 1)
            lines.append(f"{start} {block.lstrip()}" if lead == "-" else f"{start}\n{block}")
    return "".join(lines)


def _channel(topic: str, event_type: str) -> Node:
    return {
        "address": topic,
        "description": f"Every {event_type}, keyed by claim id. Never compacted: each record is a fact of its own.",
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in _names(event_type)},
        "bindings": {"kafka": {"topic": topic, "topicConfiguration": {"cleanup.policy": ["delete"]}, **_BINDING}},
    }


def _operation(topic: str, event_type: str) -> Node:
    return {
        "action": "receive",
        "channel": {"$ref": f"#/channels/{topic}"},
        "summary": f"claimpath folds each {event_type} into its claim.",
        "messages": [{"$ref": f"#/channels/{topic}/messages/{name}"} for name in _names(event_type)],
    }


def _names(event_type: str) -> tuple[str, str]:
    return event_type, f"{event_type}.binary"


def _messages(event_type: str, examples: list[Node]) -> Node:
    """One message in the two modes of CloudEvents: the whole event as the value, or its attributes in headers."""
    structured, binary = _names(event_type)
    kinds: dict[str, Node] = {}
    for event in examples:
        kinds.setdefault(kind_of(event["data"]), event)
    data = type_of_data[event_type].__name__
    schema = f"./schemas/{event_type}.json"
    key = {
        "type": "string",
        "minLength": 1,
        "maxLength": MAX_ID_CHARS,
        "description": "the subject, which is the claim id, in UTF-8",
    }
    shared = {"bindings": {"kafka": {"key": key, **_BINDING}}}
    return {
        structured: {
            "name": event_type,
            "title": f"{event_type}, structured mode",
            "contentType": STRUCTURED,
            "headers": {"$ref": "#/components/schemas/structuredHeaders"},
            "payload": {"$ref": schema},
            **shared,
            "examples": [_structured_example(kind, event) for kind, event in kinds.items()],
        },
        binary: {
            "name": event_type,
            "title": f"{event_type}, binary mode",
            "contentType": BINARY,
            "headers": {"$ref": "#/components/schemas/binaryHeaders"},
            "payload": {"$ref": f"{schema}#/$defs/{data}"},
            **shared,
            "examples": [_binary_example(*next(iter(kinds.items())))],
        },
    }


def kind_of(data: Node) -> str:
    """Return the word by which people tell apart events of one type."""
    return str(data.get("kind") or data.get("response") or ("cancelled" if data.get("cancelled") else "recorded"))


def _structured_example(kind: str, event: Node) -> Node:
    return {"name": kind, "headers": {"content-type": STRUCTURED}, "payload": event}


def _binary_example(kind: str, event: Node) -> Node:
    attributes = {f"ce_{name}": word for name, word in event.items() if name not in ("data", "datacontenttype")}
    return {"name": kind, "headers": {"content-type": BINARY, **attributes}, "payload": event["data"]}


def _structured_headers() -> Node:
    return {
        "type": "object",
        "description": "All optional: without a ce_specversion header a record is in structured mode. Others are free.",
        "properties": {"content-type": {"type": "string", "pattern": "^application/cloudevents"}, **_tracing()},
    }


def _binary_headers() -> Node:
    attributes = ("specversion", "id", "source", "type", "subject", "time")
    return {
        "type": "object",
        "description": "Each attribute of the CloudEvent once, as UTF-8 text. Headers without ce_ are free.",
        "properties": {
            "content-type": {"type": "string", "const": BINARY},
            **{f"ce_{name}": {"type": "string"} for name in attributes},
            **_tracing(),
        },
        "required": [f"ce_{name}" for name in attributes],
    }


def _tracing() -> Node:
    return {name: {"type": "string", "description": "W3C Trace Context"} for name in ("traceparent", "tracestate")}
