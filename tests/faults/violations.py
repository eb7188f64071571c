"""Violations to plant in a database: the sentence by which the auditor must report each, and the SQL that plants it."""

from typing import NamedTuple


class Plant(NamedTuple):
    """A violation; ``*`` in the sentence stands for what differs from run to run."""

    sentence: str
    statements: tuple[str, ...]


def plant(sentence: str, *statements: str) -> Plant:
    """Plant by statements, each of which must change something."""
    return Plant(sentence, statements)


def one(table: str, where: str = "true") -> str:
    """Return the condition that holds for one row of those that fit."""
    return f"{table}.ctid = (SELECT ctid FROM {table} WHERE {where} ORDER BY ctid LIMIT 1)"


def update(table: str, change: str, where: str = "true") -> str:
    """Return what changes one row."""
    return f"UPDATE {table} SET {change} WHERE {one(table, where)}"


def delete(table: str, where: str = "true") -> str:
    """Return what deletes one row."""
    return f"DELETE FROM {table} WHERE {one(table, where)}"


def without(constraint: str) -> str:
    """Return what takes a constraint away, so that what it prevents can be planted."""
    table = {"every": "position", "event": "event", "gap": "gap"}[constraint.split("_", maxsplit=1)[0]]
    return f"ALTER TABLE {table} DROP CONSTRAINT {constraint}"


def packed(path: str, value: str, where: str = "true") -> str:
    """Return what changes a place in one claim's packed column."""
    return update("claim", f"packed = jsonb_set(packed::jsonb, '{path}', '{value}')::text", where)


SUMS = without("every_record_has_one_outcome")
IS_SESSION = "kind = 'session'"
HAS_A_PAST = "jsonb_array_length(packed::jsonb -> 'history') > 1"
SAME_PLACE = "cluster_id, topic, partition, generation"

A_DUPLICATE_MORE_IS_ACCEPTED = update("position", "accepted = accepted + 1, duplicate = duplicate - 1", "duplicate > 0")

OUTCOMES = (
    plant(
        "1 events are stored twice",
        without("event_is_accepted_once"),
        f"INSERT INTO event SELECT * FROM event WHERE {one('event')}",
    ),
    plant(
        "* is taken and not in the log",
        f"INSERT INTO position SELECT cluster_id, topic, partition, 2, 0, 0 FROM position WHERE {one('position')}",
    ),
    plant("* at * has no outcome: it is not stored", delete("event")),
    plant(
        "* at * has no outcome: it is no event",
        delete("dead_letter", "reason = 'not_json'"),
    ),
    plant(
        "* at * has no outcome: it is in conflict",
        delete("dead_letter", "reason = 'conflict'"),
    ),
    plant(
        "* at * has no outcome: it is in conflict",
        update("event", """body = regexp_replace(body, '"charge":"[0-9]', '"charge":"1234')""", IS_SESSION),
    ),
    plant(
        "* at * has no outcome: it is under another key or in another topic than its own",
        delete("dead_letter", "reason = 'key_mismatch'"),
    ),
    plant(
        "* at * has no outcome: it is under another key or in another topic than its own",
        delete("dead_letter", "reason = 'wrong_topic'"),
    ),
    plant("* at * has no outcome: it is stored in other words", update("event", "body = body || ' '")),
    plant(
        "* counts * accepted where there are *",
        A_DUPLICATE_MORE_IS_ACCEPTED,
    ),
    plant(
        "* counts * duplicate where there are *",
        A_DUPLICATE_MORE_IS_ACCEPTED,
    ),
    plant(
        "* counts * dead_letter where there are *",
        f"UPDATE position SET dead_letter = dead_letter - 1, gap = gap + 1 WHERE {one('position', 'dead_letter > 0')}",
    ),
    plant(
        "a dead letter stands for * at *, where the log has no record that was taken",
        update("dead_letter", '"offset" = "offset" + 1000'),
    ),
    plant(
        "an event of * is stored that no record taken carries",
        update("event", '"offset" = "offset" + 1000'),
    ),
    plant(
        "an event of * is stored that no record taken carries",
        update("event", "partition = (partition + 1) % 3"),
    ),
    plant(
        "an event of CLM-NOBODY is stored that no record taken carries",
        "INSERT INTO event SELECT 'CLM-NOBODY', identity, kind, time, recorded_at, partition, 1, body FROM event"
        f" WHERE {one('event')}",
    ),
    *(
        plant(
            "the dead letter of * at * is not the record's bytes",
            update("dead_letter", change, "value IS NOT NULL"),
        )
        for change in (r"value = value || '\x00'", r"key = '\x00'", """headers = '[["lost", null]]'""")
    ),
    plant(
        "* at * is accepted and a dead letter",
        'INSERT INTO dead_letter (cluster_id, topic, partition, generation, "offset", headers, reason, path, rule)'
        """ SELECT cluster_id, topic, partition, generation, "offset", '[]', 'unprocessable', '$', ''"""
        " FROM event JOIN position USING (partition)"
        f" WHERE topic LIKE '%session-recorded' AND {one('event', IS_SESSION)}",
    ),
    plant(
        "* at * is no event, and refused as a conflict",
        update("dead_letter", "reason = 'conflict'", "reason = 'not_json'"),
    ),
    plant(
        "* at * is an event beyond doubt, and refused as invalid",
        update("dead_letter", "reason = 'invalid'", "reason = 'conflict'"),
    ),
)

EVENTS = (
    plant(
        "an event of * is stored under another name than its own",
        update("event", r"identity = '\x00'"),
    ),
    plant(
        "an event of * is stored as void, and it is session",
        update("event", "kind = 'void'", IS_SESSION),
    ),
    plant(
        "an event of * is stored with another time than its own",
        update("event", "time = time + interval '1 microsecond'"),
    ),
)

POSITIONS = (
    plant(
        "* is taken from 1 on, and Kafka has it from 0",
        f"UPDATE position SET start_offset = 1, accepted = accepted - 1 WHERE {one('position', 'accepted > 0')}",
    ),
    plant(
        "* is taken up to *, beyond its end at *",
        update("position", "next_offset = next_offset + 1, duplicate = duplicate + 1"),
    ),
    plant(
        "* is taken up to * of *",
        SUMS,
        f"UPDATE position SET next_offset = next_offset - 1 WHERE {one('position', 'accepted > 0')}",
    ),
    plant("a gap is told of * (generation 7), which has no position", update("gap", "generation = 7")),
    plant("* was never taken", delete("position")),
    plant(
        "* has a gap at * outside of what is taken",
        update("gap", "first_offset = first_offset + 1000, last_offset = last_offset + 1000"),
    ),
    plant(
        "* has a gap at * where there is a record",
        f"""INSERT INTO gap SELECT {SAME_PLACE}, "offset", "offset", 'no_record' FROM dead_letter"""
        f" WHERE {one('dead_letter')}",
    ),
    plant("* has lost *, which Kafka still has", update("gap", "kind = 'lost'")),
    plant(
        "* has more than one gap at *",
        without("gap_is_told_once"),
        f"INSERT INTO gap SELECT * FROM gap WHERE {one('gap')}",
    ),
    plant("* has neither a record nor a gap from * to *", delete("gap")),
    plant(
        "* counts * offsets in gaps where there are *",
        f"UPDATE position SET gap = gap + 1, duplicate = duplicate - 1 WHERE {one('position', 'duplicate > 0')}",
    ),
    plant(
        "* counts other than its offsets",
        SUMS,
        update("position", "accepted = accepted + 1"),
    ),
)

CLAIMS = (
    plant("* has events and no claim", delete("claim")),
    plant(
        "CLM-NOBODY is a claim without an event",
        "INSERT INTO claim SELECT 'CLM-NOBODY', version, state, payer, open, since, waiting_since, packed FROM claim"
        f" WHERE {one('claim')}",
    ),
    plant("* was changed * times by * events", update("claim", "version = version + 1000")),
    *(
        plant(f"* has another {field} than its events make", update("claim", change, where))
        for field, change, where in (
            ("state", "state = 'approved'", "state = 'submitted'"),
            ("payer", "payer = 'another'", "true"),
            ("open", "open = NOT open", "true"),
            ("since_us", "since = since + interval '1 microsecond'", "since IS NOT NULL"),
            ("waiting_since_us", "waiting_since = NULL", "waiting_since IS NOT NULL"),
        )
    ),
    plant("* is not what its events make: applied: *", packed("{applied}", "99")),
    plant("* is not what its events make: ledgers: *", packed("{ledgers,1,paid}", "1", "state = 'approved'")),
    plant("the history of * has a hole before *", packed("{history,1,0}", '"appealed"', HAS_A_PAST)),
    plant("the history of * goes from None to appealed", packed("{history,0,1}", '"appealed"')),
    plant("the history of * goes from lost to *", packed("{history,1,0}", '"lost"', HAS_A_PAST)),
    plant("the history of * is out of order", packed("{history,0,2}", "4000000000000000", HAS_A_PAST)),
    plant("the history of * names an event that it has not", packed("{history,0,5}", '"nobody"')),
    plant(
        "the history of * ends in submitted, and the claim is approved",
        update("claim", "state = 'approved'", "state = 'submitted'"),
    ),
)

ROLLUPS = tuple(
    plant(f"the rollup {sentence}", statement)
    for sentence, statement in (
        ("claims * is * and not *", update("rollup", "n = n + 1", "name = 'claims' AND n > 0")),
        (
            "duration * is * and not *",
            update("rollup", "total = total - 1", "name = 'duration' AND n > 0"),
        ),
        ("claims * is None and not *", delete("rollup", "name = 'claims' AND n > 0")),
        (
            "finding clock is (1, 0) and not None",
            "INSERT INTO rollup VALUES ('finding', 'nobody', 'clock', '1970-01-01', -1, 1, 0)",
        ),
    )
)

PLANTS = (*OUTCOMES, *EVENTS, *POSITIONS, *CLAIMS, *ROLLUPS)
