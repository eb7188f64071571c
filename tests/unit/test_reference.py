"""What is generated from the contract is current, says what the codec does, and can be used as it stands."""

import json
import re
from collections.abc import Iterator
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator, FormatChecker

from events import asyncapi, contracts, json_schema, reference
from events.codec import Decoded, Record, RefusalReason, decode, type_of_data
from events.contracts import MAX_LIST_ITEMS
from events.topics import CLAIM_SUBMITTED, PAYER_RESPONSE, SESSION_RECORDED, TOPIC_OF_TYPE, TYPE_OF_TOPIC

EXAMPLES = {event_type: reference.examples(event_type) for event_type in type_of_data}
ALL = [event for events in EXAMPLES.values() for event in events]
ABSENT = ...

# Where each refused value goes, in the first example of that kind; the schema must refuse it as the codec does.
REFUSED: list[tuple[str, str, str, object]] = [
    (SESSION_RECORDED, "recorded", "data.procedures.0.charge", "-1.00"),
    (SESSION_RECORDED, "recorded", "data.procedures.0.charge", 90),
    (SESSION_RECORDED, "recorded", "data.procedures.0.charge", "90.005"),
    (SESSION_RECORDED, "recorded", "data.procedures.0.charge", "090.00"),
    (SESSION_RECORDED, "recorded", "data.procedures.0.charge", "9e1"),
    (SESSION_RECORDED, "recorded", "data.procedures.0.charge", "10000000000.00"),
    (SESSION_RECORDED, "recorded", "data.procedures.0.minutes", 1441),
    (SESSION_RECORDED, "recorded", "data.procedures.0.units", -1),
    (SESSION_RECORDED, "recorded", "data.procedures.0.units", "2"),
    (SESSION_RECORDED, "recorded", "data.procedures", None),
    (SESSION_RECORDED, "recorded", "data.provider.npi", "123456789"),
    (SESSION_RECORDED, "recorded", "data.provider.npi", "123456789\n"),
    (SESSION_RECORDED, "recorded", "data.provider", ABSENT),
    (SESSION_RECORDED, "recorded", "data.date_of_service", "1999-12-31"),
    (SESSION_RECORDED, "recorded", "data.date_of_service", "2100-01-01"),
    (SESSION_RECORDED, "recorded", "data.date_of_service", "2026-02-30"),
    (SESSION_RECORDED, "recorded", "data.date_of_service", "2026-03-02T00:00:00Z"),
    (SESSION_RECORDED, "recorded", "data.documentation.0", "diary"),
    (SESSION_RECORDED, "cancelled", "data.cancelled", "true"),
    (CLAIM_SUBMITTED, "original", "data.total_charge", ABSENT),
    (CLAIM_SUBMITTED, "replacement", "data.total_charge", None),
    (CLAIM_SUBMITTED, "replacement", "data.payer_claim_number", None),
    (CLAIM_SUBMITTED, "void", "data.payer_claim_number", ABSENT),
    (CLAIM_SUBMITTED, "original", "data.payer_rank", 4),
    (CLAIM_SUBMITTED, "original", "data.lines.0.date_of_service", "1999-12-31"),
    (CLAIM_SUBMITTED, "void", "data.lines", [{"line": "1", "code": "97124", "charge": "1.00"}] * (MAX_LIST_ITEMS + 1)),
    (CLAIM_SUBMITTED, "appeal", "data.appeal.reason", "unfair"),
    (CLAIM_SUBMITTED, "appeal", "data.appeal.level", 0),
    (PAYER_RESPONSE, "approved", "data.paid", ABSENT),
    (PAYER_RESPONSE, "approved", "data.allowed", None),
    (PAYER_RESPONSE, "approved", "data.paid", "-88.00"),
    (PAYER_RESPONSE, "approved", "data.lines.0.charge", "-90.00"),
    (PAYER_RESPONSE, "reversed", "data.paid", "88.00"),
    (PAYER_RESPONSE, "reversed", "data.allowed", ABSENT),
    (PAYER_RESPONSE, "reversed", "data.patient_responsibility", "0.01"),
    (PAYER_RESPONSE, "reversed", "data.lines", [{"line": "1", "code": "97124", "paid": "1.00"}]),
    (PAYER_RESPONSE, "denied", "data.patient_responsibility", "-0.01"),
    (PAYER_RESPONSE, "denied", "data.adjustments.0.group", "XX"),
    (PAYER_RESPONSE, "rejected", "data.statuses.0.category", ""),
    (PAYER_RESPONSE, "acknowledged", "data.response", "settled"),
    (PAYER_RESPONSE, "acknowledged", "data", []),
    (PAYER_RESPONSE, "acknowledged", "type", "payer.response.v2"),
    (PAYER_RESPONSE, "acknowledged", "time", "2026-03-04T14:20:00"),
    (PAYER_RESPONSE, "acknowledged", "time", "2100-01-01T00:00:00Z"),
    (PAYER_RESPONSE, "acknowledged", "time", 1772634000),
    (PAYER_RESPONSE, "acknowledged", "id", ""),
    (PAYER_RESPONSE, "acknowledged", "source", "x" * 256),
    (PAYER_RESPONSE, "acknowledged", "subject", "x" * 65),
    (PAYER_RESPONSE, "acknowledged", "subject", "CLM\n1"),
    (PAYER_RESPONSE, "acknowledged", "subject", ABSENT),
]

# What hypothesis puts in any place: true of some fields, false of others, at the borders of the rules.
VALUES = (
    *(
        None,
        True,
        0,
        1,
        3,
        4,
        9,
        10,
        1440,
        1441,
        99_999,
        100_000,
        -1,
        [],
        {},
        ["GP"],
        [None],
        {"line": "1", "code": "x"},
    ),
    *(
        "",
        "x",
        "x" * 16,
        "x" * 17,
        "x" * 64,
        "x" * 65,
        "x" * 128,
        "x" * 129,
        "x" * 255,
        "x" * 256,
        "a b",
        "a\tb",
        "1234567890",
    ),
    *(
        "0",
        "0.0",
        "0.00",
        "0.01",
        "-0.01",
        "9999999999.99",
        "-9999999999.99",
        "10000000000",
        "1.",
        ".5",
        "1.005",
        "+1",
        "1,0",
    ),
    *("1999-12-31", "2000-01-01", "2099-12-31", "2100-01-01", "2026-02-29", "2028-02-29", "2026-3-2", "20260302"),
    *("2000-01-01T00:00:00Z", "2099-12-31T23:59:59.999999Z", "2026-03-02T15:30:00", "2026-03-02T24:00:00Z"),
    *("2026-03-02T15:30:00+23:59", "2026-03-02T15:30:00+24:00", "2026-03-02T15:30Z", "1999-12-31T23:59:59Z"),
    *get_args(contracts.SubmissionKind),
    *get_args(contracts.ResponseKind),
    *("payer", "clearinghouse", "CO", "PR", "history", "medical_necessity"),
)


def test_what_is_generated_is_current() -> None:
    """Schemas, AsyncAPI document and reference page are what the contract says now."""
    stale = [path.name for path, text in reference.files().items() if path.read_text("utf-8") != text]
    assert stale == [], "run python -m events.reference"
    assert {path.name for path in (reference.HERE / "schemas").iterdir()} == {f"{name}.json" for name in type_of_data}


def test_check_names_what_is_stale_and_writing_mends_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The check fails and names each file that would change, until it has been written."""
    monkeypatch.setattr(reference, "files", lambda: {tmp_path / "page.md": "new\n"})
    assert reference.main(["--check"]) == 1
    assert "page.md" in capsys.readouterr().out
    assert reference.main([]) == 0
    assert (tmp_path / "page.md").read_text() == "new\n"
    assert reference.main(["--check"]) == 0


@pytest.mark.parametrize("event", ALL, ids=lambda event: str(event["id"]))
def test_every_example_is_valid_in_both_modes(event: dict[str, Any]) -> None:
    """Each example passes its schema and the codec, as one value and with its attributes in headers."""
    validator(event["type"]).validate(event)
    topic, key = TOPIC_OF_TYPE[event["type"]], event["subject"].encode()
    structured = decode(Record(topic, key, json.dumps(event).encode()))
    headers = [(f"ce_{name}", word.encode()) for name, word in event.items() if name not in ("data", "datacontenttype")]
    headers.append(("content-type", b"application/json"))
    binary = decode(Record(topic, key, json.dumps(event["data"]).encode(), headers))
    assert isinstance(structured, Decoded)
    assert isinstance(binary, Decoded)
    assert structured.event == binary.event


def test_examples_show_every_kind_and_every_field() -> None:
    """Nobody has to guess how a field of the contract is filled."""
    kinds = {word for event in ALL for word in (event["data"].get("kind"), event["data"].get("response")) if word}
    assert kinds == {*get_args(contracts.SubmissionKind), *get_args(contracts.ResponseKind)}
    shown = {
        (event_type, *path) for event_type, events in EXAMPLES.items() for event in events for path in fields(event)
    }
    missing = [
        f"{event_type}: {'.'.join(path)}"
        for event_type in type_of_data
        for path in declared(json_schema.schema(event_type), json_schema.schema(event_type))
        if (event_type, *path) not in shown
    ]
    assert missing == []


@pytest.mark.parametrize(("event_type", "kind", "path", "value"), REFUSED)
def test_the_schema_refuses_what_the_codec_refuses(event_type: str, kind: str, path: str, value: object) -> None:
    """A publisher who validates learns before publishing what would become a dead letter."""
    event = deepcopy(next(event for event in EXAMPLES[event_type] if asyncapi.kind_of(event["data"]) == kind))
    assert accepted(event, event_type)
    put(event, path.split("."), value)
    assert not accepted(event, event_type)
    assert not validator(event_type).is_valid(event)


@settings(max_examples=400, deadline=None)
@given(data=st.data())
def test_schema_and_codec_agree_on_changed_examples(data: st.DataObject) -> None:
    """Whatever is changed in an example, its schema and the codec give the same answer."""
    event = deepcopy(data.draw(st.sampled_from(ALL)))
    event_type = event["type"]
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.sampled_from([*places(event)]))
        put(event, place, deepcopy(data.draw(st.sampled_from((ABSENT, *VALUES)))))
    assert validator(event_type).is_valid(event) == accepted(event, event_type)


def test_the_asyncapi_document_resolves_and_its_examples_hold() -> None:
    """A tool that reads the document finds every part it points to, and examples of the schemas it names."""
    document = yaml.safe_load((reference.HERE / "asyncapi.yaml").read_text("utf-8"))
    assert document == asyncapi.document(EXAMPLES)
    for pointer in references(document):
        assert isinstance(resolve(document, pointer), dict), pointer
    assert {channel["address"] for channel in document["channels"].values()} == set(TYPE_OF_TOPIC)
    for name, message in document["components"]["messages"].items():
        headers = Draft202012Validator(resolve(document, message["headers"]["$ref"]))
        _, _, part = message["payload"]["$ref"].partition("#/$defs/")
        for example in message["examples"]:
            validator(message["name"], part).validate(example["payload"])
            headers.validate(example["headers"])
        assert message["bindings"]["kafka"]["key"]["type"] == "string", name


@pytest.mark.parametrize(
    "value", [{"on": "off", "5": [], "a b": {}}, ["x" * 130, ["y" * 130, {"k": "z" * 130}]], {"k": 'é"\n: #' * 30}]
)
def test_what_yaml_is_written_reads_back_the_same(value: object) -> None:
    """The document's YAML says what was meant, also where YAML would read a word as something else."""
    assert yaml.safe_load(asyncapi.yaml(value)) == value


def test_every_refusal_has_its_meaning_and_its_remedy() -> None:
    """The page explains every reason that a dead letter can give, in the order of the checks."""
    assert tuple(reference.REFUSALS) == get_args(RefusalReason)
    assert all(meaning and remedy for meaning, remedy in reference.REFUSALS.values())


def test_every_field_is_described() -> None:
    """No field of the contract is published without a word on what it holds."""
    silent = [
        f"{event_type}: {name}.{field}"
        for event_type in type_of_data
        for name, part in json_schema.schema(event_type)["$defs"].items()
        for field, rule in part["properties"].items()
        if not rule.get("description") and "$ref" not in json.dumps(rule)
    ]
    assert silent == []


def test_the_page_has_a_table_for_every_event() -> None:
    """A new event type cannot be forgotten on the reference page, and every link inside the page leads somewhere."""
    page = reference.PAGE.read_text("utf-8")
    assert set(re.findall(r"<!-- generated: (\S+) -->", page)) == {
        "topics",
        "envelope",
        "limits",
        "refusals",
        *type_of_data,
    }
    anchors = {
        re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-")
        for title in re.findall(r"^#+ (.*)$", page, re.MULTILINE)
    }
    assert set(re.findall(r"\]\(#([^)]+)\)", page)) <= anchors
    assert [name for name in re.findall(r"\]\(([\w./]+)\)", page) if not (reference.HERE / name).exists()] == []


@cache
def validator(event_type: str, part: str = "") -> Draft202012Validator:
    """A validator of the checked-in schema, or of one of its parts, which looks at formats too."""
    schema = json.loads((reference.HERE / "schemas" / f"{event_type}.json").read_text("utf-8"))
    if part:
        schema = {"$ref": f"#/$defs/{part}", "$defs": schema["$defs"]}
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema, format_checker=FormatChecker())


def accepted(event: dict[str, Any], event_type: str) -> bool:
    """Whether the codec takes the event on the topic of this type, under its own subject as the key."""
    record = Record(TOPIC_OF_TYPE[event_type], str(event.get("subject")).encode(), json.dumps(event).encode())
    return isinstance(decode(record), Decoded)


def put(node: Any, path: list[str], value: object) -> None:  # noqa: ANN401  (any JSON)
    """Set the value at the path, or take away what is there."""
    for name in path[:-1]:
        node = node[int(name)] if isinstance(node, list) else node[name]
    place = int(path[-1]) if isinstance(node, list) else path[-1]
    if value is ABSENT:
        del node[place]
    else:
        node[place] = value


def places(node: object, path: tuple[str, ...] = ()) -> Iterator[list[str]]:
    """Every path in a JSON value, the root apart."""
    if path:
        yield list(path)
    parts = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for name, part in parts:
        yield from places(part, (*path, str(name)))


def fields(event: dict[str, Any]) -> set[tuple[str, ...]]:
    """The paths of an event without positions in lists."""
    return {tuple(name for name in path if not name.isdecimal()) for path in places(event)}


def declared(node: Any, schema: dict[str, Any]) -> Iterator[tuple[str, ...]]:  # noqa: ANN401  (any part of a schema)
    """The paths of every field that a schema names."""
    if "$ref" in node:
        yield from declared(schema["$defs"][node["$ref"].rpartition("/")[2]], schema)
    for inner in (*node.get("anyOf", []), *([node["items"]] if "items" in node else [])):
        yield from declared(inner, schema)
    for name, part in node.get("properties", {}).items():
        yield (name,)
        for path in declared(part, schema):
            yield (name, *path)


def references(node: object) -> Iterator[str]:
    """Every ``$ref`` in a document."""
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        for part in node.values():
            yield from references(part)
    elif isinstance(node, list):
        for part in node:
            yield from references(part)


def resolve(document: dict[str, Any], pointer: str) -> Any:  # noqa: ANN401  (any part of a document)
    """What a reference points to, in the document or in a file beside it."""
    name, _, path = pointer.partition("#")
    node = json.loads((reference.HERE / name).read_text("utf-8")) if name else document
    for step in path.strip("/").split("/") if path else ():
        node = node[step]
    return node
