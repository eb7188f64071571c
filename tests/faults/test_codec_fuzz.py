"""Whatever a record holds, the codec makes it an event that can be kept, or a refusal that tells nothing of it.

`python -m tests.faults.codec_fuzz --seed 8 --count 300000` tries more of the same.
"""

import json
from collections import Counter
from typing import Any, get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from events import codec
from events.codec import Decoded, Record, RefusalReason
from events.topics import TOPICS
from services.settings import Settings
from tests.faults.codec_fuzz import first_wrong, judge, mutation
from tests.faults.records import CANARY, DATA, good, places, put
from tests.running import rows

SEED = 7
COUNT = 20_000
STORED = 4_000
PROOF = 3_000
"""Mutations among which a codec that was broken on purpose must be found out."""

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
HEADERS = st.lists(
    st.tuples(
        st.sampled_from(("ce_specversion", "ce_id", "ce_time", "content-type")) | st.text(), st.none() | st.binary()
    )
)
PLACES = [(topic, path) for topic in TOPICS for path, _ in places(DATA[topic])]
PLACES += [(topic, name) for topic in TOPICS for name in ("id", "source", "type", "subject", "time", "data", "more")]


def test_no_mutation_gets_the_better_of_the_codec() -> None:
    """Only events and typed refusals come out, in bounded time; an event's body reads back to the same event, by
    itself too, its content does not hang on spelling, and it holds nothing that PostgreSQL refuses.
    """
    outcomes: Counter[str] = Counter()
    assert first_wrong(SEED, range(COUNT), outcomes) is None
    assert outcomes.keys() == {"accepted", *get_args(RefusalReason)}


@given(st.sampled_from(TOPICS), st.none() | st.binary(), st.none() | st.binary() | JSON.map(json.dumps), HEADERS)
@hypothesis_settings(deadline=None, max_examples=500)
def test_nothing_at_all_gets_the_better_of_it(
    topic: str, key: bytes | None, value: bytes | str | None, headers: list[tuple[str, bytes | None]]
) -> None:
    """The same holds of any bytes, any JSON and any headers."""
    assert judge(Record(topic, key, value.encode() if isinstance(value, str) else value, headers))[1] is None


@given(st.sampled_from(PLACES), JSON)
@hypothesis_settings(deadline=None, max_examples=500)
def test_no_value_in_any_place_gets_the_better_of_it(place: tuple[str, str], what: Any) -> None:  # noqa: ANN401
    """The same holds of an event in one place of which stands something else."""
    topic, path = place
    assert judge(put(path, what)(good(topic, CANARY)))[1] is None


async def test_postgresql_takes_what_the_codec_takes(settings: Settings) -> None:
    """The body of every event can be kept as text and read as JSON by PostgreSQL."""
    decoded = [outcome for outcome, _ in (judge(mutation(SEED, number)) for number in range(STORED))]
    bodies = {outcome.body.decode() for outcome in decoded if isinstance(outcome, Decoded)}
    assert len(bodies) > STORED / 50
    refused = await rows(
        settings,
        "SELECT body FROM unnest(cast(:bodies AS text[])) AS given (body) WHERE NOT pg_input_is_valid(body, 'jsonb')",
        bodies=[*bodies],
    )
    assert refused == []


@pytest.mark.parametrize(
    ("name", "broken"),
    [
        ("_check_text", lambda _: None),
        ("_holds_nul", lambda _: False),
        ("_depth", lambda _: 0),
        ("_check_size", lambda _: None),
        ("_check_date", lambda *_: 1 // 0),
        ("_path_and_rule", lambda error, root: (root, str(error) + CANARY)),
        ("_canonical", lambda node, _="": list(node)),
    ],
)
def test_a_broken_codec_is_found_out(monkeypatch: pytest.MonkeyPatch, name: str, broken: Any) -> None:  # noqa: ANN401
    """Without one of its checks, or with a bug in one, the codec does not pass."""
    monkeypatch.setattr(codec, name, broken)
    try:
        fault = first_wrong(SEED, range(PROOF))
    except (ArithmeticError, RecursionError, msgspec.MsgspecError) as error:
        fault = str(error)
    assert fault is not None
