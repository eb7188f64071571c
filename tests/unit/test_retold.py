"""The auditor's telling of a claim, which knows nothing of the product, and the product's say the same."""

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from random import Random
from typing import Any

import pytest

from events import codec, samples
from events.contracts import Event
from services import rollups
from services.claim_rows import claim_row
from services.lifecycle import explain
from services.view import view
from tests.claims_at_random import draw, words
from tests.faults import retold
from tests.stories import CLAIM, appeal, body, on, original, replacement, response, session, void
from tests.test_tidy import imports, modules, top

EXAMPLES = Path(__file__).parents[2] / "events" / "examples"
RECORDED_AT_US = 1_780_000_000_000_000
DAY_US = 86_400_000_000
TROUBLED = samples.Switches(duplicates=0.1, disorder=0.2, lateness=0.1, conflicts=0.05, poison=0.05)


@pytest.mark.parametrize("seed", range(4))
def test_any_claim_is_told_alike(seed: int) -> None:
    """Rows, packed state, fates, money, findings and rollups of claims that nobody would make up are as told anew."""
    chance = Random(seed)
    vocabulary = words(chance)
    for number in range(1500):
        events = draw(chance, vocabulary)
        found = disagreements(CLAIM, events)
        assert found == [], f"seed {seed}, claim {number}"


@pytest.mark.parametrize("seed", [1, 2])
def test_the_samples_are_told_alike(seed: int) -> None:
    """So are claims as they happen, with duplicates, conflicts, late and unordered events, in the order of arrival."""
    claims: defaultdict[str, dict[tuple[str, str], tuple[Event, str]]] = defaultdict(dict)
    for number, message in enumerate(samples.stream(300, seed, TROUBLED)):
        decoded = codec.decode(message)
        if isinstance(decoded, codec.Decoded):
            event = codec.read(decoded.body, RECORDED_AT_US + number * 1000)
            claims[event.claim_id].setdefault((event.source, event.id), (event, decoded.body.decode()))
    for claim_id, accepted in claims.items():
        events, bodies = zip(*accepted.values(), strict=True)
        assert disagreements(claim_id, events, bodies) == [], f"seed {seed}, claim {claim_id}"


def test_the_examples_are_told_as_people_read_them() -> None:
    """Every kind of event the contract knows, in claims small enough to be worked out by hand."""
    claims: defaultdict[str, list[str]] = defaultdict(list)
    for path in sorted(EXAMPLES.glob("*.jsonl")):
        for line in path.read_text(encoding="utf-8").splitlines():
            claims[json.loads(line)["subject"]].append(line)
    for claim_id, bodies in claims.items():
        assert disagreements(claim_id, [codec.read(line, RECORDED_AT_US) for line in bodies], bodies) == []
    told = {claim_id: retold.tell((line, RECORDED_AT_US) for line in bodies) for claim_id, bodies in claims.items()}
    names = ("billed", "allowed", "paid", "adjusted", "patient", "open")
    assert {claim_id: (claim.state, *(claim.money[name] for name in names)) for claim_id, claim in told.items()} == {
        "CLM-000124": ("draft", 0, 0, 0, 0, 0, 0),
        "CLM-000125": ("submitted", 90_00, 0, 0, 0, 0, 90_00),
        "CLM-000126": ("approved", 130_00, 110_00, 110_00, 20_00, 0, 0),
        "CLM-000127": ("submitted", 90_00, 0, 0, 0, 0, 90_00),
        "CLM-000128": ("draft", 0, 0, 0, 0, 0, 0),
        "CLM-000129": ("approved", 130_00, 110_00, 110_00, 20_00, 0, 0),
        "CLM-000130": ("approved", 130_00, 110_00, 88_00, 20_00, 22_00, 0),
    }


def test_the_order_of_arrival_changes_nothing() -> None:
    """A claim whose every event comes before what it follows from is told as if all had come in order."""
    events = [session(), original(), response("denied"), appeal(), response("approved", day=40, paid_on=45)]
    bodies = [(body(event), event.recorded_at_us) for event in events]
    assert retold.tell(reversed(bodies)) == retold.tell(bodies)
    assert [change[1] for change in retold.tell(bodies).history] == [
        *("draft", "submitted", "denied", "appealed", "approved"),
    ]


def test_time_is_told_in_days_where_an_end_is_only_a_date() -> None:
    """Of a claim served on the 2nd, sent on the 4th, decided on the 20th and paid on the 24th."""
    told = tell(session(day=2), original(day=4), response("approved", day=20, decided=20, paid_on=24))
    durations = {key[2]: (key[3], key[4], row) for key, row in retold.rollup(told).items() if key[0] == "duration"}
    assert durations == {
        "charge_lag": (on(4), 1, (1, 2 * 86_400)),
        "decision": (on(20), 6, (1, 16 * 86_400)),
        "payment": (on(24), 6, (1, 20 * 86_400)),
        "reimbursement": (on(24), 7, (1, 22 * 86_400)),
    }


def test_what_the_contract_does_not_know_is_no_late_charge() -> None:
    """A session said again with a field of the publisher's own changes nothing; one with another charge does."""
    said_again = json.loads(body(session(day=9, served=2)))
    said_again["data"] |= {"room": "4b", "plan": None}
    first = [body(session(day=2)), body(original(day=4))]
    same = [*first, json.dumps(said_again)]
    said_again["data"]["procedures"][0]["charge"] = "131"
    dearer = [*first, json.dumps(said_again)]
    for bodies, findings in ((same, set()), (dearer, {"late_charge"})):
        assert retold.tell((line, RECORDED_AT_US) for line in bodies).findings == findings
        assert disagreements(CLAIM, [codec.read(line, RECORDED_AT_US) for line in bodies], bodies) == []


def test_a_difference_is_found_in_every_field() -> None:
    """Whatever the packed column says otherwise is named."""
    events = [
        *(session(), original(), response("denied"), appeal(), response("denied", day=40), replacement(day=41)),
        *(void(day=42), response("reversed", day=43, paid="-1.00"), response("approved", day=44)),
        *(response("pended", day=45), response("rejected", day=46), void(day=47), response("acknowledged", day=48)),
        response("denied", rank=2, day=1),
    ]
    told = tell(*events)
    packed = json.loads(claim_row(CLAIM, 1, explain(events)[0]).packed)
    assert retold.packed_differences(told, packed) == []
    for name, value in packed.items():
        other = {**packed, name: [] if value != [] else None}
        assert [found.partition(":")[0] for found in retold.packed_differences(told, other)] == [name]


def test_the_auditor_takes_nothing_from_the_product() -> None:
    """What is shared would be wrong on both sides: the auditor's telling imports no line of the product."""
    taken = {module: imports(module) for module in modules("tests") if module.startswith("tests.faults.retold")}
    assert "tests.faults.retold_story" in taken
    assert {top(target) for targets in taken.values() for target in targets} & {"events", "services", "infra"} == set()


def disagreements(claim_id: str, events: Sequence[Event], bodies: Iterable[str] | None = None) -> list[str]:
    """Return where the product's telling of the events and the auditor's, of what is stored of them, differ."""
    stored = map(body, events) if bodies is None else bodies
    told = retold.tell(zip(stored, (event.recorded_at_us for event in events), strict=True))
    claim, explained = explain(events)
    row = claim_row(claim_id, 1, claim)
    shown = view(claim_id, claim)
    pairs: dict[str, tuple[Any, Any]] = {
        **{name: (getattr(told, name), getattr(row, name)) for name in row._fields if hasattr(told, name)},
        "money": (told.money, {name: codec.cents(amount) for name, amount in shown["money"].items()}),
        "findings": (sorted(told.findings), shown["findings"]),
        "fates": (told.fates, {(one.source, one.id): (said.outcome, said.reason or "") for one, said in explained}),
        "rollup": (retold.rollup(told), rollups.rollup(claim)),
    }
    return retold.packed_differences(told, json.loads(row.packed)) + [
        f"{name}: told {ours!r}, by the product {theirs!r}" for name, (ours, theirs) in pairs.items() if ours != theirs
    ]


def tell(*events: Event) -> retold.Told:
    """Return the auditor's telling."""
    return retold.tell((body(event), event.recorded_at_us) for event in events)
