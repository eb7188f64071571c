"""The contract as JSON Schema 2020-12: one schema of the whole CloudEvent for each event type, its parts in ``$defs``.

A document that one of these schemas passes is one that the codec accepts, as far as JSON Schema can say it.
"""

from typing import Any, Final, get_args

import msgspec

from events import contracts
from events.codec import type_of_data
from events.contracts import Cents, Charge, CloudEvent

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
MONEY: Final = r"^-?(0|[1-9][0-9]{0,9})(\.[0-9]{1,2})?$"
CHARGE: Final = MONEY.replace("-?", "")
# Validators need not assert formats, so form and years stand in patterns too. Times are kept in microseconds: no finer.
_DATE: Final = r"^20[0-9]{2}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])"
_TIME: Final = r"T([01][0-9]|2[0-3])(:[0-5][0-9]){2}(\.[0-9]{1,6})?(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])"
_PATTERNS: Final = {"date": f"{_DATE}$", "date-time": f"{_DATE}{_TIME}$"}
_PRINTED: Final = ("subject", "source", "id")
_UNPRINTABLE: Final = {
    "pattern": r"[\u0000-\u001f\u007f-\u00a0\u00ad\u1680\u2000-\u200f\u2028-\u202f\u205f-\u206f\u3000\ufeff]"
}
_NOT_ABOVE_ZERO: Final = {"pattern": r"^(-|0(\.0{1,2})?$)"}
_NOT_BELOW_ZERO: Final = {"pattern": "^[0-9]"}

Schema = dict[str, Any]


def schema(event_type: str) -> Schema:
    """Return the schema of a CloudEvent of this type; of its data alone it is ``$defs`` under the Struct's name."""
    data = type_of_data[event_type]
    _, parts = msgspec.json.schema_components((CloudEvent, data), schema_hook=_money, ref_template="#/$defs/{name}")
    parts = {name: _tidy(part) for name, part in parts.items()}
    envelope = parts.pop("CloudEvent")
    attributes = envelope["properties"]
    for name in _PRINTED:
        attributes[name]["not"] = _UNPRINTABLE
    for name, word in (("specversion", "1.0"), ("type", event_type)):
        attributes[name] = {"description": attributes[name]["description"], "const": word}
    parts[data.__name__]["allOf"] = _together().get(data.__name__, [])
    return {
        "$schema": DIALECT,
        "title": event_type,
        "description": parts[data.__name__]["description"],
        "type": "object",
        "properties": {**attributes, "data": {"$ref": f"#/$defs/{data.__name__}"}},
        "required": [*envelope["required"], "data"],
        "$defs": {name: {key: rule for key, rule in part.items() if rule} for name, part in sorted(parts.items())},
    }


def _together() -> dict[str, list[Schema]]:
    """The rules that two fields make together; a test holds them against the codec, their home."""
    return {
        "ClaimSubmitted": [
            {"if": _is("kind", "original", "replacement", "void"), "then": _needs("total_charge")},
            {"if": _is("kind", "replacement", "void"), "then": _needs("payer_claim_number")},
        ],
        "PayerResponse": [
            {"if": _is("response", "approved", "reversed"), "then": _needs("paid", "allowed")},
            {"if": _is("response", "reversed"), "then": _signed(_NOT_ABOVE_ZERO), "else": _signed(_NOT_BELOW_ZERO)},
        ],
    }


def _is(field: str, *values: str) -> Schema:
    return {"properties": {field: {"enum": list(values)}}, "required": [field]}


def _needs(*fields: str) -> Schema:
    # Null is absent, so a needed field has a type as well.
    return {"properties": {field: {"type": "string"} for field in fields}, "required": list(fields)}


def _signed(sign: Schema) -> Schema:
    in_line = {"properties": dict.fromkeys(("paid", "allowed", "charge"), sign)}
    in_claim = dict.fromkeys(("paid", "allowed", "patient_responsibility"), sign)
    return {"properties": {**in_claim, "lines": {"items": in_line}}}


def _money(wire: type) -> Schema:
    if not issubclass(wire, Cents):
        raise NotImplementedError(wire)
    return {"type": "string", "pattern": CHARGE if wire is Charge else MONEY}


def _tidy(node: Any) -> Any:  # noqa: ANN401  (any part of a schema)
    """Closed sets in the contract's order, dates with their limits, null as a type, no default that says absent."""
    if isinstance(node, list):
        return [_tidy(part) for part in node]
    if not isinstance(node, dict):
        return node
    tidy = {key: _tidy(part) for key, part in node.items() if not (key == "default" and part is None)}
    match tidy:
        case {"anyOf": [{"type": str(kind)} as given, {"type": "null"}]}:
            del tidy["anyOf"]
            tidy = {**given, **tidy, "type": [kind, "null"]}
        case {"enum": list(words)}:
            tidy["enum"] = _DECLARED.get(frozenset(words), words)
        case {"format": "date" | "date-time" as form}:
            tidy["pattern"] = _PATTERNS[form]
    if isinstance(tidy.get("description"), str):
        tidy["description"] = tidy["description"].replace("``", "`")
    return tidy


def _declared() -> dict[frozenset[str], list[str]]:
    """The contract's closed sets as they are written; msgspec sorts them."""
    named = [get_args(value) for value in vars(contracts).values()]
    words = [*named, *(get_args(args[0]) for args in named if args)]
    return {frozenset(args): list(args) for args in words if args and all(isinstance(word, str) for word in args)}


_DECLARED: Final = _declared()
