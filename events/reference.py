"""Writes what is generated from the contract: JSON Schemas, the AsyncAPI document and the tables of the reference page.

``python -m events.reference`` writes the files, with ``--check`` it names those that are stale and exits 1.
"""

import json
import re
import sys
from pathlib import Path
from typing import Any, Final

from events.asyncapi import document, yaml
from events.codec import FIRST_YEAR, LAST_YEAR, MAX_DEPTH, MAX_VALUE_BYTES, RefusalReason, type_of_data
from events.contracts import MAX_ID_CHARS, MAX_LIST_ITEMS, MAX_SOURCE_CHARS, MAX_WORD_CHARS
from events.json_schema import CHARGE, MONEY, Schema, schema
from events.topics import TOPIC_OF_TYPE

HERE: Final = Path(__file__).parent
PAGE: Final = HERE / "README.md"
_REGION: Final = re.compile(r"(<!-- generated: ([\w.]+) -->\n).*?(<!-- end -->)", re.DOTALL)

# What each refusal means, and what its publisher does about it.
REFUSALS: Final[dict[RefusalReason, tuple[str, str]]] = {
    "no_value": (
        "The value is null or empty.",
        "Publish an event. There are no tombstones: a void, a reversal or `cancelled` takes back.",
    ),
    "too_large": (
        "The value is longer than the limit, in binary mode with its attributes.",
        "Publish one event a record; leave out what the contract lacks.",
    ),
    "bad_header": (
        "Binary mode: a `ce_` header comes twice, is not UTF-8, or is named `ce_data`.",
        "Send each attribute once, as UTF-8 text.",
    ),
    "bad_text": (
        "The value is not UTF-8, or a string holds NUL or half of a surrogate pair.",
        "Encode as UTF-8; clean such text where it enters your system.",
    ),
    "too_deep": ("Objects and lists nest deeper than the limit.", "Flatten your extra fields."),
    "not_json": (
        "The value is not JSON, or a number is NaN, infinite or out of range.",
        "Write it with a JSON library that refuses NaN (Python: `allow_nan=False`).",
    ),
    "duplicate_key": ("An object names a key twice.", "Write each key once: readers do not agree on which one counts."),
    "not_cloudevent": (
        "An attribute of the envelope is missing or against its rule.",
        "Compare with [The envelope](#the-envelope); the refusal names the attribute.",
    ),
    "unknown_version": (
        "The type is one of ours in a version that this claimpath does not know.",
        "Publish a version of this page, or ask for the upgrade: the record is kept and can be replayed after it.",
    ),
    "unknown_type": ("The type is none of the three.", "Publish other events to other topics."),
    "wrong_topic": (
        "The type is carried by another topic.",
        "Choose the topic by the type: [Topics](#topics-and-keys).",
    ),
    "key_mismatch": ("The record's key is absent or is not the subject.", "Send the subject in UTF-8 as the key."),
    "invalid": (
        "The data break a rule of their event.",
        "The refusal names path and rule; validate against the JSON Schema before you publish.",
    ),
}


def files() -> dict[Path, str]:
    """Return every generated file with the text it should have."""
    schemas = {event_type: schema(event_type) for event_type in type_of_data}
    return {
        **{HERE / "schemas" / f"{name}.json": json.dumps(node, indent=2) + "\n" for name, node in schemas.items()},
        HERE / "asyncapi.yaml": yaml(document({event_type: examples(event_type) for event_type in type_of_data})),
        PAGE: _REGION.sub(
            lambda found: f"{found[1]}\n{_tables(found[2], schemas)}\n{found[3]}", PAGE.read_text("utf-8")
        ),
    }


def examples(event_type: str) -> list[dict[str, Any]]:
    """Return the example CloudEvents of an event type, in the order of their file."""
    lines = (HERE / "examples" / f"{event_type}.jsonl").read_text("utf-8").splitlines()
    return [json.loads(line) for line in lines]


def main(arguments: list[str]) -> int:
    """Write the files, or with ``--check`` name the stale ones; return the exit code."""
    wanted = files()
    stale = [path for path in wanted if not path.exists() or path.read_text("utf-8") != wanted[path]]
    if "--check" in arguments:
        sys.stdout.writelines(f"{path} is stale: run python -m events.reference\n" for path in stale)
        return 1 if stale else 0
    for path in stale:
        path.write_text(wanted[path], "utf-8")
        sys.stdout.write(f"wrote {path}\n")
    return 0


def _tables(region: str, schemas: dict[str, Schema]) -> str:
    match region:
        case "topics":
            rows = [[f"`{TOPIC_OF_TYPE[name]}`", f"`{name}`", node["description"]] for name, node in schemas.items()]
            return _table(["topic", "type", "what happened"], rows)
        case "envelope":
            return _envelope(schemas)
        case "limits":
            return _limits()
        case "refusals":
            return _table(
                ["reason", "meaning", "what to do"], [[f"`{name}`", *text] for name, text in REFUSALS.items()]
            )
        case event_type:
            return _parts(schemas[event_type]["$defs"], type_of_data[event_type].__name__)


def _envelope(schemas: dict[str, Schema]) -> str:
    node = next(iter(schemas.values()))
    own = {
        "type": {**node["properties"]["type"], "enum": list(schemas)},
        "data": {"type": "object", "description": "what happened, as below"},
    }
    del own["type"]["const"]
    return _fields({**node, "properties": {**node["properties"], **own}})


def _limits() -> str:
    rows = [
        ["size of a value", f"{MAX_VALUE_BYTES:,} bytes"],
        ["nesting", f"{MAX_DEPTH} levels"],
        ["items of a list", f"{MAX_LIST_ITEMS:,}, if the field says nothing less"],
        ["`id`, `source`", f"{MAX_SOURCE_CHARS} characters"],
        ["`subject` and other ids", f"{MAX_ID_CHARS} characters"],
        ["names of plans, clearinghouses and traces", f"{MAX_WORD_CHARS} characters"],
        ["money", "ten digits before the point, two after"],
        ["times and dates", f"from the year {FIRST_YEAR} to the year {LAST_YEAR}; times are kept in microseconds"],
    ]
    return _table(["what", "at most"], rows)


def _parts(parts: dict[str, Schema], root: str) -> str:
    """The table of an event's data, then one of each part in the order in which they are first named."""
    order = [root]
    for name in order:
        named = dict.fromkeys(re.findall(r"#/\$defs/(\w+)", json.dumps(parts[name])))
        order += [part for part in named if part not in order]
    return "\n".join(
        _fields(parts[name])
        if name == root
        else f"### {name}\n\n{parts[name]['description']}\n\n{_fields(parts[name])}"
        for name in order
    )


def _fields(node: Schema) -> str:
    rows = [
        [
            f"`{name}`",
            _kind(field),
            "yes" if name in node["required"] else _needed_when(name, node.get("allOf", [])),
            _sign(name) if field.get("pattern") == MONEY else _rule(field),
            field.get("description", ""),
        ]
        for name, field in node["properties"].items()
    ]
    return _table(["field", "type", "required", "rule", "description"], rows)


def _sign(name: str) -> str:
    return "of any sign" if name == "amount" else "on `reversed` not above zero, else not below"


def _needed_when(name: str, together: list[Schema]) -> str:
    for rule in together:
        if name in rule.get("then", {}).get("required", []):
            [condition] = rule["if"]["properties"].values()
            return f"on {_words(condition['enum'])}"
    return "no"


def _kind(node: Schema) -> str:
    match node:
        case {"anyOf": [{"$ref": str(reference)}, _]} | {"$ref": str(reference)}:
            part = reference.rpartition("/")[2]
            return f"[{part}](#{part.lower()})"
        case {"items": items}:
            return f"list of {_kind(items)}"
        case {"pattern": pattern} if pattern in (MONEY, CHARGE):
            return "money"
        case {"format": "date"}:
            return "date"
        case {"format": "date-time"}:
            return "time"
        case {"type": [kind, "null"]} | {"type": kind}:
            return str(kind)
    return "word"


def _rule(node: Schema) -> str:
    match node:
        case {"const": word}:
            return f"`{word}`"
        case {"enum": words}:
            return f"one of {_words(words)}"
        case {"items": items, "maxItems": most}:
            inner = _rule(items)
            return f"at most {most:,}" + (f", each {inner}" if inner else "")
        case {"minimum": least, "maximum": most}:
            return f"{least} to {most}"
        case {"pattern": pattern} if pattern == CHARGE:
            return "not below zero"
        case {"format": "date"}:
            return "`YYYY-MM-DD`"
        case {"format": "date-time"}:
            return "RFC 3339 with offset"
        case {"minLength": least, "maxLength": most}:
            return f"{least} to {most} characters" if least < most else f"{least} characters"
    return ""


def _words(words: list[str]) -> str:
    return ", ".join(f"`{word}`" for word in words)


def _table(head: list[str], rows: list[list[str]]) -> str:
    return "".join(f"| {' | '.join(row)} |\n" for row in [head, ["---"] * len(head), *rows])


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
