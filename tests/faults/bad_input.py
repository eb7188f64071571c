"""The catalogue of bad input, and of input that only looks bad: what is published, and what becomes of it."""

import json
from typing import Final

from events.codec import MAX_DEPTH, MAX_VALUE_BYTES
from events.contracts import MAX_LIST_ITEMS
from events.topics import TOPICS
from tests.faults.outcomes import (
    ACCEPTED,
    CONFLICT,
    DEEP,
    DUPLICATE,
    FINITE,
    HEADER_TWICE,
    KEY,
    LARGE,
    LONE,
    MONEY,
    NO_EVENT,
    NO_VALUE,
    NOT_A_TIME,
    NOT_JSON,
    NUL,
    TEXT,
    TWICE,
    YEARS,
    Letter,
    Row,
    charge,
    data,
    envelope,
    time,
)
from tests.faults.records import (
    ABSENT,
    BINARY,
    CANARY,
    DATA,
    STRUCTURED,
    also,
    as_it_is,
    attribute,
    binary,
    both,
    headers,
    instead,
    key,
    member,
    member_of_data,
    places,
    put,
    subject,
    topic,
    value,
)

S, C, R = TOPICS
TEN_MIB: Final = 10 * 1024 * 1024
NEAR_KAFKAS_LIMIT: Final = 1_000_000
CHARGE: Final = "data.procedures.0.charge"

JSON_ROWS: Final = (
    Row("a good session", as_it_is, ACCEPTED),
    Row("a good submission", as_it_is, ACCEPTED, C),
    Row("a good response", as_it_is, ACCEPTED, R),
    Row("a null value: a tombstone", instead(None), NO_VALUE),
    Row("an empty value", instead(b""), NO_VALUE),
    Row("neither key nor value", both(instead(None), key(lambda _: None)), NO_VALUE, S, {"client": "librdkafka"}),
    Row("only whitespace", instead(b" \r\n\t"), NOT_JSON),
    Row("cut off in the middle", value(lambda old: old[: len(old) // 2]), NOT_JSON),
    Row("the last brace missing", value(lambda old: old[:-1]), NOT_JSON),
    Row("a byte after the end", value(lambda old: old + b"\0"), NOT_JSON),
    Row("a second event after the first", value(lambda old: old + b"\n" + old), NOT_JSON),
    Row("whitespace around", value(lambda old: b"\r\n\t " + old + b" \n"), ACCEPTED),
    Row("a byte order mark", value(lambda old: b"\xef\xbb\xbf" + old), NOT_JSON),
    Row("UTF-16", value(lambda old: old.decode().encode("utf-16")), TEXT),
    Row("UTF-32 without a mark", value(lambda old: old.decode().encode("utf-32-le")), NOT_JSON),
    Row("a byte of Latin-1", member(b'"note":"caf\xe9"'), TEXT),
    Row("an overlong NUL", member(b'"note":"\xc0\x80"'), TEXT),
    Row("a character cut in two", member(b'"note":"\xf0\x9f"'), TEXT),
    Row("half of a pair in CESU-8", member(b'"note":"\xed\xa0\xbd"'), TEXT),
    Row("a whole pair in CESU-8", member(b'"note":"\xed\xa0\xbd\xed\xb8\x80"'), TEXT),
    Row("the first half of a pair, escaped", member(rb'"note":"\ud800"'), LONE),
    Row("the second half of a pair, escaped", member(rb'"note":"\udc00"'), LONE),
    Row("the halves of a pair in the wrong order", member(rb'"note":"\ude00\ud83d"'), LONE),
    Row("half of a pair in a key", member(rb'"\ud800":1'), LONE),
    Row("a whole pair, escaped", member(rb'"note":"\ud83d\ude00"'), ACCEPTED),
    Row("NUL, escaped", member(rb'"note":"a\u0000b"'), NUL),
    Row("NUL, escaped, in a key", member(rb'"a\u0000b":1'), NUL),
    Row("NUL, escaped, deep in a list", member(rb'"note":[[{"a":["\u0000"]}]]'), NUL),
    Row("NUL as it is", member(b'"note":"a\0b"'), NOT_JSON),
    Row("a backslash before u0000", member(rb'"note":"\\u0000"'), ACCEPTED),
    Row("a control character as it is", member(b'"note":"a\x01b"'), NOT_JSON),
    Row("a control character, escaped", member(rb'"note":"a\u0001b"'), ACCEPTED),
    Row("an escape that JSON lacks", member(rb'"note":"\x41"'), NOT_JSON),
    Row("NaN", member(b'"note":NaN'), NOT_JSON),
    Row("Infinity", member(b'"note":Infinity'), NOT_JSON),
    Row("minus Infinity", member(b'"note":-Infinity'), NOT_JSON),
    Row("a number beyond a double", member(b'"note":1e999'), FINITE),
    Row("an integer of 5,000 digits", member(b'"note":' + b"9" * 5_000), FINITE),
    Row("an integer of 30 digits", member(b'"note":' + b"9" * 30), ACCEPTED),
    Row("a number below a double", member(b'"note":1e-400'), ACCEPTED),
    Row("a number with a leading zero", member(b'"note":01'), NOT_JSON),
    Row("a number with a plus", member(b'"note":+1'), NOT_JSON),
    Row("a hexadecimal number", member(b'"note":0x1'), NOT_JSON),
    Row("a comment", attribute(b'/**/"note":1'), NOT_JSON),
    Row("a trailing comma", value(lambda old: old[:-1] + b",}"), NOT_JSON),
    Row("single quotes", value(lambda old: old.replace(b'"', b"'")), NOT_JSON),
    Row("Python's words", value(lambda old: str(json.loads(old)).encode()), NOT_JSON),
    Row("a frame of a schema registry", value(lambda old: b"\0\0\0\0\7" + old), NOT_JSON),
    Row(
        "a list", value(lambda old: b"[" + old + b"]"), Letter("not_cloudevent", "$", "Expected `object`, got `array`")
    ),
    Row("a string", value(lambda old: json.dumps(old.decode()).encode()), NO_EVENT),
    Row("a number", instead(b"5"), NO_EVENT),
    Row("null", instead(b"null"), Letter("not_cloudevent", "$", "Expected `object`, got `null`")),
    Row("an empty object", instead(b"{}"), NO_EVENT),
    Row("32 levels", member(b'"note":' + b"[" * (MAX_DEPTH - 2) + b"]" * (MAX_DEPTH - 2)), ACCEPTED),
    Row("33 levels", member(b'"note":' + b"[" * (MAX_DEPTH - 1) + b"]" * (MAX_DEPTH - 1)), DEEP),
    Row("1,000 lists within lists", member(b'"note":' + b"[" * 1_000 + b"]" * 1_000), DEEP),
    Row("100,000 lists within lists", member(b'"note":' + b"[" * 100_000 + b"]" * 100_000), DEEP),
    Row("100,000 brackets and no end", instead(b"[" * 100_000), DEEP),
    Row("20,000 objects within objects", instead(b'{"a":' * 20_000), DEEP),
    Row("brackets in a string", member(b'"note":"' + b"[{" * 1_000 + b'"'), ACCEPTED),
    Row("a value of just the greatest size", value(lambda old: old + b" " * (MAX_VALUE_BYTES - len(old))), ACCEPTED),
    Row("a byte more", value(lambda old: old + b" " * (MAX_VALUE_BYTES - len(old) + 1)), LARGE),
    Row("near Kafka's own limit", member(b'"note":"' + b"x" * NEAR_KAFKAS_LIMIT + b'"'), LARGE),
    Row("10 MiB that gzip makes small", instead(b" " * TEN_MIB), LARGE, S, {"compression_type": "gzip"}),
    Row("a key twice in the data", member(f'"payer_id":"{CANARY}"'.encode()), TWICE),
    Row("a key twice in the envelope", attribute(f'"id":"{CANARY}"'.encode()), TWICE),
    Row("a key twice in an unknown field", member(b'"note":[{"a":1,"b":[],"a":1}]'), TWICE),
    Row("a key twice, once escaped", attribute(rb'"\u0069d":"2"'), TWICE),
    Row("two keys that differ by case", attribute(b'"ID":"2"'), ACCEPTED),
    Row("unknown fields everywhere", both(put("tenant", CANARY), put("data.provider.name", CANARY)), ACCEPTED),
    Row("unknown fields that are null", both(put("tenant", None), put("data.note", None)), ACCEPTED),
)

ENVELOPE_ROWS: Final = (
    *(
        Row(f"no {name}", put(name, ABSENT), Letter("not_cloudevent", "$", f"Object missing required field `{name}`"))
        for name in ("specversion", "id", "source", "type", "subject", "time", "data")
    ),
    *(
        Row(f"a {name} that is a list", put(name, [CANARY]), envelope(name))
        for name in ("specversion", "id", "source", "type", "subject", "time", "datacontenttype")
    ),
    *(
        Row(f"an empty {name}", put(name, ""), envelope(name, "Expected `str` of length >= 1"))
        for name in ("id", "source", "type", "subject")
    ),
    Row("an id of 255 characters of four bytes", put("id", "\U0001f600" * 255), ACCEPTED),
    Row("an id over its cap", put("id", CANARY * 26), envelope("id", "Expected `str` of length <= 255")),
    Row("a subject over its cap", subject(CANARY * 7), envelope("subject")),
    Row("a subject with a line end", subject(f"{CANARY}\n"), envelope("subject", "printable characters only")),
    Row("an id that turns the writing around", put("id", f"{CANARY}\u202e"), envelope("id")),
    Row("another version of CloudEvents", put("specversion", "0.3"), envelope("specversion")),
    Row("a version of CloudEvents as a number", put("specversion", 1.0), envelope("specversion")),
    Row("an unknown version", put("type", "session.recorded.v2"), Letter("unknown_version", "$.type")),
    Row("an unknown type", put("type", f"{CANARY}.v1"), Letter("unknown_type", "$.type")),
    Row("a type in capitals", put("type", "SESSION.RECORDED.V1"), Letter("unknown_type", "$.type")),
    Row(
        "another topic's type",
        topic(C),
        Letter("wrong_topic", "$.type", "the topic claim-submitted carries claim.submitted.v1"),
    ),
    Row("no key", key(lambda _: None), KEY),
    Row("an empty key", key(lambda _: b""), KEY),
    Row("another claim's key", key(lambda _: CANARY.encode()), KEY),
    Row("a key in quotes", key(lambda old: b'"' + old + b'"'), KEY),
    Row("a key that is not UTF-8", key(lambda old: old + b"\xff"), KEY),
    Row("a key in UTF-16", key(lambda old: old.decode().encode("utf-16")), KEY),
    Row(
        "an accent composed in the subject alone",
        both(subject(CANARY + "\u00e9"), key(lambda _: (CANARY + "e\u0301").encode())),
        KEY,
    ),
)

TIME_ROWS: Final = (
    *(
        Row(f"the time {text}", put("time", text), outcome)
        for text, outcome in {
            "2026-03-02T15:30:00": time("Expected `datetime` with a timezone component"),
            "2026-03-02": NOT_A_TIME,
            "": NOT_A_TIME,
            "1772634000": NOT_A_TIME,
            "2026-02-30T00:00:00Z": NOT_A_TIME,
            "2026-13-01T00:00:00Z": NOT_A_TIME,
            "2026-03-02T24:00:00Z": NOT_A_TIME,
            "2026-03-02T15:30Z": NOT_A_TIME,
            "2026-06-30T23:59:60Z": NOT_A_TIME,  # a leap second is no instant of a clock that counts microseconds
            "2026-03-02T15:30:00+24:00": NOT_A_TIME,
            "2026-W10-1T00:00:00Z": NOT_A_TIME,
            "0000-01-01T00:00:00Z": NOT_A_TIME,
            "0001-01-01T00:00:00+23:59": time(YEARS),
            "9999-12-31T23:59:59-23:59": time(YEARS),
            "1999-12-31T23:59:59.999999Z": time(YEARS),
            "2000-01-01T00:00:00+00:01": time(YEARS),
            "2000-01-01T00:00:00Z": ACCEPTED,
            "2099-12-31T23:59:59.999999Z": ACCEPTED,
            "2100-01-01T00:00:00+00:01": ACCEPTED,
            "2100-01-01T00:00:00Z": time(YEARS),
            "2026-03-02T15:30:00.123456789012345678901234567890Z": ACCEPTED,
            "2026-03-02T15:30:00-00:00": ACCEPTED,
            "2026-03-02T23:00:00+14:00": ACCEPTED,
            "2026-03-02t15:30:00z": ACCEPTED,
        }.items()
    ),
    Row("a time as a number", put("time", 1_772_634_000), time("Expected `datetime`, got `int`")),
    Row("a day that is none", put("data.date_of_service", "2026-02-30"), data("date_of_service")),
    Row("a day with a time", put("data.date_of_service", "2026-03-02T00:00:00Z"), data("date_of_service")),
    Row("a day of 1999", put("data.date_of_service", "1999-12-31"), data("date_of_service", YEARS)),
    Row(
        "a line's day of 2100",
        put("data.lines.0.date_of_service", "2100-01-01"),
        data("lines[0].date_of_service", YEARS),
        C,
    ),
    Row("a day of payment of 9999", put("data.paid_on", "9999-12-31"), data("paid_on", YEARS), R),
)

MONEY_ROWS: Final = (
    *(
        Row(f"the charge {text!r}", put(CHARGE, text), outcome)
        for text, outcome in {
            **dict.fromkeys(("1.005", "01.00", "1e2", "NaN", "Infinity", "", ".5", "5.", "+1"), charge(MONEY)),
            **dict.fromkeys(("1,000.00", "$1", " 1", "1\n", "1_000", "\uff11", "10000000000.00"), charge(MONEY)),
            "-0.01": charge("a charge is never below zero"),
            **dict.fromkeys(("9999999999.99", "0", "1.5", "-0.00"), ACCEPTED),
        }.items()
    ),
    *(
        Row(f"the charge {number} as a number", put(CHARGE, number), charge("money is a decimal string"))
        for number in (130, 130.0, -0.0)
    ),
    Row("a charge that is true", put(CHARGE, True), charge("money is a decimal string")),
    Row("a charge that is null", put(CHARGE, None), charge("money is a decimal string")),
    Row("a payment below zero", put("data.paid", "-88.00"), data("paid"), R),
    Row("a payment of minus nothing", put("data.paid", "-0.00"), ACCEPTED, R),
    Row("a line paid below zero", put("data.lines.0.paid", "-0.01"), data("lines[0].paid"), R),
    Row("a reversal above zero", put("data.response", "reversed"), data("charge"), R),
    Row("an adjustment below zero", put("data.adjustments.0.amount", "-20.00"), ACCEPTED, R),
    Row("an approval without its payment", put("data.paid", ABSENT), data("paid"), R),
)

DATA_ROWS: Final = (
    *(
        Row(
            f"{where.removeprefix('data.')} of another type on {name}",
            put(where, CANARY if isinstance(there, dict | list) else {CANARY: CANARY}),
            Letter("invalid", "$." + ".".join(where.split(".")).replace(".0", "[0]")),
            name,
        )
        for name in TOPICS
        for where, there in places(DATA[name])
    ),
    Row("data that is a list", put("data", []), Letter("invalid", "$.data", "Expected `object`, got `array`")),
    Row(
        "data in a string",
        put("data", json.dumps(DATA[S])),
        Letter("invalid", "$.data", "Expected `object`, got `str`"),
    ),
    Row(
        "a word that the contract lacks", put("data.kind", CANARY), data("kind", "one of the values of the contract"), C
    ),
    Row("an integer with a fraction", put("data.payer_rank", 1.5), data("payer_rank"), C),
    Row("an integer in a string", put("data.payer_rank", "1"), data("payer_rank"), C),
    Row("an integer beyond its cap", put("data.payer_rank", 2**70), data("payer_rank"), C),
    Row("a truth in a string", put("data.cancelled", "true"), data("cancelled")),
    Row("a truth as a number", put("data.cancelled", 1), data("cancelled")),
    Row("a list that is null", put("data.procedures", None), data("procedures")),
    Row("a list of the most items", put("data.remarks", ["N1"] * MAX_LIST_ITEMS), ACCEPTED, R),
    Row("an item more", put("data.remarks", ["N1"] * (MAX_LIST_ITEMS + 1)), data("remarks"), R),
    Row("a string over its cap", put("data.plan", CANARY * 13), data("plan", "Expected `str` of length <= 128")),
    Row("an empty string", put("data.plan", ""), data("plan", "Expected `str` of length >= 1")),
    Row(
        "a replacement without the payer's number",
        both(put("data.kind", "replacement"), put("data.payer_claim_number", None)),
        data("payer_claim_number", "required on kind replacement"),
        C,
    ),
)

HEADER_ROWS: Final = (
    Row("no headers", headers(), ACCEPTED),
    Row("a null header", also(("trace", None)), ACCEPTED),
    Row("a header that is not UTF-8", also(("trace", b"\xff\xfe")), ACCEPTED),
    Row("a header without a name", also(("", b"x"), ("", None)), ACCEPTED),
    Row("a header three times", also(*[("trace", b"1")] * 3), ACCEPTED),
    Row("5,000 headers", also(*[("trace", b"1")] * 5_000), ACCEPTED),
    Row("an address to answer to", also(("reply_to", S.encode()), ("correlation_id", b"\xff")), ACCEPTED),
    Row("a wrong content encoding", also(("content-encoding", b"gzip")), ACCEPTED),
    Row("a null content type", headers(("content-type", None)), ACCEPTED),
    Row("a content type that is not UTF-8", headers(("content-type", b"\xff")), ACCEPTED),
    Row(
        "odd headers on what is refused", both(headers(("", None), ("x", b"\xff"), ("x", b"")), instead(b"{")), NOT_JSON
    ),
    Row("binary mode", binary(), ACCEPTED),
    Row("binary mode without a content type", binary(without="content-type"), ACCEPTED),
    Row("binary mode with attributes of its own", binary(("ce_tenant", CANARY.encode())), ACCEPTED),
    Row("binary mode with a null trace", binary(("traceparent", None)), ACCEPTED),
    *(
        Row(f"binary mode without {name}", binary(without=f"ce_{name}"), NO_EVENT)
        for name in ("specversion", "id", "source", "type", "subject", "time")
    ),
    Row("binary mode with a null id", binary(("ce_id", None), without="ce_id"), envelope("id")),
    Row("binary mode with the id twice", binary(("ce_id", b"2")), HEADER_TWICE),
    Row("binary mode with its data in a header", binary(("ce_data", b"{}")), HEADER_TWICE),
    Row(
        "binary mode, an attribute not UTF-8",
        binary(("ce_tenant", b"\xff")),
        Letter("bad_header", "header 6", "ce_ headers are UTF-8"),
    ),
    Row("binary mode, NUL in an attribute", binary(("ce_tenant", b"a\0b")), NUL),
    Row(
        "binary mode, another subject than the key",
        both(binary(without="ce_subject"), also(("ce_subject", CANARY.encode()))),
        KEY,
    ),
    Row("binary mode around a whole event", headers(BINARY, ("ce_specversion", b"1.0")), NO_EVENT),
    Row("binary mode that says it is structured", both(binary(without="content-type"), also(STRUCTURED)), NO_EVENT),
    Row(
        "structured mode that contradicts its headers", also(("ce_specversion", b"1.0"), ("ce_id", b"other")), ACCEPTED
    ),
    Row(
        "a batch of events",
        both(headers(("content-type", b"application/cloudevents-batch+json")), value(lambda old: b"[" + old + b"]")),
        NO_EVENT,
    ),
    Row("binary mode, a value that closes its place", both(binary(), value(lambda old: old + b',"id":"2"')), NOT_JSON),
    Row("binary mode, not UTF-8", both(binary(), member_of_data(b'"note":"caf\xe9"')), TEXT),
    Row("binary mode, not JSON, and an attribute twice", both(binary(("ce_id", b"2")), instead(b"{")), HEADER_TWICE),
    Row(
        "binary mode, a value of just the greatest size",
        both(binary(), value(lambda old: old + b" " * (MAX_VALUE_BYTES - len(old)))),
        LARGE,
    ),
    Row("binary mode, an attribute of the greatest size", binary(("ce_tenant", b"x" * MAX_VALUE_BYTES)), LARGE),
    Row("binary mode, a key twice", both(binary(), value(lambda old: old[:-1] + b',"plan":"2"}')), TWICE),
)

REPEATED_ROWS: Final = (
    Row("the same bytes again", as_it_is, DUPLICATE),
    Row(
        "the same fact in other formatting",
        value(lambda old: json.dumps(json.loads(old), indent=2).encode()),
        DUPLICATE,
    ),
    Row(
        "the same fact, keys in another order",
        value(lambda old: json.dumps(json.loads(old), sort_keys=True).encode()),
        DUPLICATE,
    ),
    Row("the same fact with escapes", value(lambda old: old.replace(b"cnry", rb"\u0063nry")), DUPLICATE),
    Row("the same fact with another offset", put("time", "2026-03-02T21:00:00.000+05:30"), DUPLICATE),
    Row("the same fact, its money shorter", value(lambda old: old.replace(b'"130.00"', b'"130"')), DUPLICATE),
    Row(
        "the same fact with unknown null fields", both(put("data.note", None), put("data.provider.note", [])), DUPLICATE
    ),
    Row("the same fact with another attribute", put("traceparent", CANARY), DUPLICATE),
    Row("the same fact with other tracing headers", also(("traceparent", b"00-1"), ("traceparent", None)), DUPLICATE),
    Row("the same fact in binary mode", binary(), DUPLICATE),
    Row("the same identity, another charge", put(CHARGE, "130.01"), CONFLICT),
    Row("the same identity, a microsecond later", put("time", "2026-03-02T15:30:00.000001Z"), CONFLICT),
    Row("the same identity, another unknown field", put("data.note", CANARY), CONFLICT),
    Row(
        "the same identity under another type",
        both(put("data", DATA[C]), put("type", "claim.submitted.v1"), topic(C)),
        CONFLICT,
    ),
)

SENDING_ROWS: Final = (
    *(
        Row(f"compressed with {name}", as_it_is, ACCEPTED, S, {"compression_type": name})
        for name in ("gzip", "snappy", "lz4", "zstd")
    ),
    Row("a timestamp of nothing", as_it_is, ACCEPTED, S, {"timestamp_ms": -1}),
    Row("a timestamp of 1970", as_it_is, ACCEPTED, S, {"timestamp_ms": 0}),
    Row("a refused record without a timestamp", instead(b"{"), NOT_JSON, S, {"timestamp_ms": -1}),
    Row("a refused record of the year 292278994", instead(b"{"), NOT_JSON, S, {"timestamp_ms": 2**63 - 1}),
)

ROWS: Final = (
    *JSON_ROWS,
    *ENVELOPE_ROWS,
    *TIME_ROWS,
    *MONEY_ROWS,
    *DATA_ROWS,
    *HEADER_ROWS,
    *REPEATED_ROWS,
    *SENDING_ROWS,
)
