"""The rules, by both tellings: every cell of the table, and the rules around it, as given, when, then."""

from typing import Any

import pytest
from msgspec.structs import replace

from events.codec import read
from events.contracts import Event, ResponseKind
from tests.stories import RECORDED_AT_US, appeal, body, original, replacement, response, session, void
from tests.tellings import claim

NEWS: tuple[ResponseKind, ...] = ("acknowledged", "accepted", "pended", "information_requested", "forwarded")
PAID = response("approved", paid="50.00", allowed="60.00")
TAKEN_BACK = response("reversed", day=21, paid="-50.00", allowed="-60.00")
DENIED = response("denied")
DENIAL_TAKEN_BACK = response("reversed", day=21, paid="0.00", allowed="0.00")

# A decision was seen in each of them that has a submission, so that a reversal is judged by its cell.
GIVEN: dict[str, list[Event]] = {
    "(none)": [],
    "draft, new": [session()],
    "draft, rejected": [session(), original(), DENIED, DENIAL_TAKEN_BACK, response("rejected", day=22)],
    "draft, voided": [session(), original(), DENIED, void()],
    "submitted": [session(), original(), PAID, TAKEN_BACK],
    "approved": [session(), original(), PAID],
    "denied": [session(), original(), DENIED],
    "appealed": [session(), original(), DENIED, appeal()],
}
WHEN: dict[str, Event] = {
    "session": session(day=40, served=2),
    "original": original(day=40),
    "replacement": replacement(day=40),
    "void": void(day=40),
    "appeal": appeal(day=40),
    **{kind: response(kind, day=40) for kind in NEWS},
    "rejected": response("rejected", day=40),
    "reversed": response("reversed", day=40, paid="-50.00", allowed="-60.00"),
    "denied": response("denied", day=40),
    "approved": response("approved", day=40, paid="10.00", allowed="10.00"),
}
NEW_ATTEMPT = {"original": "submitted", "replacement": "submitted"}
RESPONSES = (*NEWS, "rejected", "reversed", "denied", "approved")
THEN: dict[str, dict[str, str]] = {
    "(none)": NEW_ATTEMPT
    | {"session": "draft new"}
    | dict.fromkeys(("void", "appeal", *RESPONSES), "waiting no_submission"),
    "draft, new": NEW_ATTEMPT
    | {"session": "draft new", "void": "set_aside nothing_to_void"}
    | dict.fromkeys(("appeal", *RESPONSES), "waiting no_submission"),
    "draft, rejected": NEW_ATTEMPT
    | {"session": "draft rejected", "void": "set_aside nothing_to_void", "appeal": "set_aside never_adjudicated"}
    | dict.fromkeys(NEWS, "set_aside attempt_over")
    | {"rejected": "draft rejected", "reversed": "draft rejected"}
    | {"denied": "denied no_open_submission", "approved": "approved no_open_submission"},
    "draft, voided": NEW_ATTEMPT
    | {"session": "draft voided", "void": "set_aside nothing_to_void", "appeal": "set_aside voided"}
    | dict.fromkeys(NEWS, "set_aside attempt_over")
    | {"rejected": "denied", "reversed": "draft voided"}
    | {"denied": "draft voided decided_after_void", "approved": "draft voided credit_balance decided_after_void"},
    "submitted": NEW_ATTEMPT
    | {"session": "submitted", "void": "draft voided", "appeal": "waiting no_decision"}
    | dict.fromkeys(NEWS, "submitted")
    | {"rejected": "draft rejected", "reversed": "submitted", "denied": "denied", "approved": "approved"},
    "approved": {"session": "approved", "original": "set_aside already_approved", "replacement": "submitted"}
    | {"void": "draft voided credit_balance", "appeal": "appealed"}
    | dict.fromkeys(NEWS, "approved")
    | {"rejected": "set_aside already_decided", "reversed": "submitted"}
    | {"denied": "waiting no_reversal", "approved": "approved"},
    "denied": NEW_ATTEMPT
    | {"session": "denied", "void": "draft voided", "appeal": "appealed"}
    | dict.fromkeys(NEWS, "denied")
    | {"rejected": "set_aside already_decided", "reversed": "denied", "denied": "denied", "approved": "approved"},
    "appealed": {"session": "appealed", "original": "appealed resubmitted_under_appeal", "replacement": "submitted"}
    | {"void": "draft voided", "appeal": "appealed"}
    | dict.fromkeys(NEWS, "appealed")
    | {"rejected": "set_aside already_decided", "reversed": "appealed", "denied": "denied", "approved": "approved"},
}


@pytest.mark.parametrize("when", WHEN)
@pytest.mark.parametrize("given", GIVEN)
def test_every_cell_of_the_table(given: str, when: str) -> None:
    """Each event does in each state what the table says."""
    assert given == "(none)" or said(claim(GIVEN[given])) == given.replace(",", "")
    assert becomes([*GIVEN[given], WHEN[when]]) == THEN[given][when]


def becomes(events: list[Event]) -> str:
    """What became of the last event: why it did not apply, or the state it led to, with the findings."""
    told = claim(events)
    outcome, reason = fate(told, events[-1])
    return said(told) if outcome == "applied" else f"{outcome} {reason}"


def said(told: dict[str, Any]) -> str:
    """State, draft's reason and findings in one line."""
    return " ".join(word for word in (told["state"], told["facets"]["draft"], *told["findings"]) if word)


def fate(told: dict[str, Any], event: Event) -> tuple[str, str | None]:
    """Outcome and reason of one event."""
    (entry,) = [entry for entry in told["events"] if entry["id"] == event.id]
    return entry["outcome"], entry["reason"]


def test_stories_are_events_of_the_contract() -> None:
    """What these tests tell could have come by Kafka."""
    for event in (*WHEN.values(), session(cancelled=True), original(served=2), appeal(level=2)):
        assert read(body(event), event.recorded_at_us) == event


def test_a_reversal_goes_before_a_denial_and_a_denial_before_an_approval_of_one_instant() -> None:
    """A correction is a reversal and then the new decision, and of two decisions of one instant the better stands."""
    same = [response(kind, day=30, at="00:00") for kind in ("forwarded", "approved", "denied", "reversed", "rejected")]
    told = claim([original(), *same, PAID])
    assert [entry["id"].partition("-")[0] for entry in told["events"]] == [
        *("original", "approved", "rejected", "reversed", "denied", "approved", "forwarded"),
    ]
    assert [change["state"] for change in told["history"]][-3:] == ["submitted", "denied", "approved"]


def test_events_of_one_instant_and_kind_go_by_source_and_id() -> None:
    """No tie is left to arrival."""
    told = claim([original(event_id=name) for name in ("b", "A", "a")])
    assert [entry["id"] for entry in told["events"]] == ["A", "a", "b"]


def test_order_of_arrival_and_repetition_change_nothing() -> None:
    """A claim is a function of the set of its events."""
    events = [session(), original(), response("accepted", day=5), DENIED, appeal(), response("approved", day=60)]
    assert claim([*reversed(events), *events]) == claim(events)


def test_events_act_in_the_order_of_their_times() -> None:
    """What happened first acts first, whenever it was recorded and in whatever order it is told."""
    story = [session(day=2), original(day=3), response("denied", day=9), appeal(day=12), response("approved", day=20)]
    late = [replace(event, recorded_at_us=RECORDED_AT_US - number) for number, event in enumerate(story)]
    told = claim(reversed(late))
    assert [event["id"] for event in told["events"]] == [event.id for event in story]
    assert [change["state"] for change in told["history"]] == ["draft", "submitted", "denied", "appealed", "approved"]


def test_a_claim_of_waiting_events_only_has_no_state() -> None:
    """What came too early is kept until its claim begins."""
    told = claim([PAID])
    assert (told["state"], told["money"]["open"], told["history"]) == (None, "0.00", [])


def test_waiting_events_apply_from_the_oldest_when_their_time_comes() -> None:
    """A late submission lets everything that waited for it go on, at the time of that submission."""
    told = claim([response("denied", day=1), response("accepted", day=2, at="00:00"), original(day=4)])
    assert (told["state"], told["facets"]["acknowledgement"]) == ("denied", "accepted")
    assert [(change["state"], change["at"]) for change in told["history"]] == [
        ("submitted", "2026-03-04T14:00:00Z"),
        ("denied", "2026-03-04T14:00:00Z"),
    ]


def test_a_void_that_waited_is_set_aside_when_there_is_nothing_to_void() -> None:
    """Waiting is not for ever: a session begins the claim and the older void has nothing to take back."""
    early = void(day=1)
    assert fate(claim([early, session()]), early) == ("set_aside", "nothing_to_void")


def test_an_event_that_waits_says_what_for_now() -> None:
    """The reason of a waiting event is that of its latest trial."""
    early = appeal(day=1)
    assert fate(claim([early]), early) == ("waiting", "no_submission")
    assert fate(claim([early, original()]), early) == ("waiting", "no_decision")


def test_a_reversal_waits_until_a_decision_was_seen() -> None:
    """A reversal before any decision waits in every state that has a submission."""
    early = response("reversed", day=10)
    rejected = response("rejected", day=6)
    assert becomes([original(), early]) == "waiting no_decision"
    assert becomes([original(), rejected, early]) == "waiting no_decision"
    told = claim([original(), early, response("approved", day=20)])
    assert (told["state"], told["money"]["paid"]) == ("submitted", "0.00")
    assert [change["at"][:10] for change in told["history"]] == ["2026-03-04", "2026-03-20", "2026-03-20"]


def test_a_decision_of_another_rank_counts_as_seen() -> None:
    """A recorded decision is a decision too."""
    other = response("denied", day=8, rank=2)
    assert becomes([original(), other, response("reversed", day=10, paid="0.00", allowed="0.00")]) == "submitted"


@pytest.mark.parametrize("kind", [*NEWS, "rejected", "denied", "reversed", "approved"])
@pytest.mark.parametrize("given", ["draft, rejected", "draft, voided", "submitted", "approved", "appealed"])
def test_a_response_of_another_rank_is_recorded_and_no_more(given: str, kind: ResponseKind) -> None:
    """Only what speaks of the awaited rank moves the claim, whatever its state; money of others counts all the same."""
    story = [*GIVEN[given], response("information_requested", day=39)]
    before, after = claim(story), claim([*story, response(kind, day=40, rank=2)])
    assert after["events"][-1]["outcome"] == "applied"
    moved = {name for name in before if name not in ("events", "durations_s") and before[name] != after[name]}
    assert moved <= ({"money", "facets", "findings"} if kind in ("approved", "reversed") else set())
    unpaid = {"payment": None}
    assert before["facets"] | unpaid == after["facets"] | unpaid


def test_an_approval_by_a_higher_rank_makes_a_denied_claim_approved() -> None:
    """What the secondary pays settles what the primary denied, while the primary stays the one awaited."""
    ask = response("information_requested", day=21)
    told = claim([original(), DENIED, ask, response("approved", day=30, rank=2)])
    assert (told["state"], told["denial_reasons"], told["facets"]["payer_rank"]) == ("approved", [], 1)
    assert not told["facets"]["needs_information"]
    assert claim([original(rank=2), DENIED, response("approved", day=30, rank=1)])["state"] == "denied"
    refiled = [original(), response("rejected", day=5), original(day=6), DENIED, response("approved", day=30, rank=2)]
    assert claim(refiled[:-1])["rejection_reasons"] == ["A3:562:82"]
    assert claim(refiled)["rejection_reasons"] == []
    assert becomes([*refiled, appeal(reason="underpayment")]) == "appealed"


@pytest.mark.parametrize("kind", [*NEWS, "rejected", "denied"])
def test_what_names_an_earlier_submission_is_recorded_and_no_more(kind: ResponseKind) -> None:
    """An answer to a claim already replaced does not move its replacement."""
    first = original(submission_id="SUB-1")
    before = claim([first, replacement()])
    after = claim([first, replacement(), response(kind, day=40, submission_id="SUB-1")])
    assert after["events"][-1]["outcome"] == "applied"
    kept = ("state", "facets", "denial_reasons", "rejection_reasons", "findings")
    assert [before[name] for name in kept] == [after[name] for name in kept]


def test_an_approval_that_names_an_earlier_submission_counts() -> None:
    """Money is money, whichever submission the payer names."""
    paid = response("approved", day=40, submission_id="SUB-1")
    assert becomes([original(submission_id="SUB-1"), replacement(), paid]) == "approved"


def test_a_submission_that_the_claim_does_not_know_is_taken_as_the_current_one() -> None:
    """An unknown submission id is a finding, and the response applies."""
    assert becomes([original(), response("denied", submission_id="SUB-X")]) == "denied unknown_submission"
    other_rank = response("denied", submission_id="SUB-X", rank=2)
    assert becomes([original(), other_rank]) == "submitted unknown_submission"
    aside = response("rejected", day=30, submission_id="SUB-X")
    assert claim([original(), DENIED, aside])["findings"] == []


def test_a_submission_id_is_used_once() -> None:
    """A second submission with an id that an applied one has is set aside, before any cell is read."""
    first = original(submission_id="SUB-1")
    for again in (original, replacement, void, appeal):
        assert becomes([first, again(day=40, submission_id="SUB-1")]) == "set_aside same_submission"
    refiled = original(day=40, submission_id="SUB-2")
    late = replacement(day=41, submission_id="SUB-2")
    assert becomes([*GIVEN["appealed"], refiled, late]) == "set_aside same_submission"


def test_a_rejection_leads_back_to_what_the_attempt_was_made_from() -> None:
    """A rejected corrected claim leaves the decision, the charge, the payer and the appeal level as they were."""
    asked = response("information_requested", day=35)
    before = claim([*GIVEN["appealed"], asked])
    again = replacement(day=41, rank=2, charge="99.00")
    told = claim([*GIVEN["appealed"], asked, again, response("rejected", day=42)])
    assert told["facets"] == before["facets"] | {"acknowledgement": "rejected"}
    assert (told["state"], told["money"]) == ("appealed", before["money"])
    assert told["rejection_reasons"] == ["A3:562:82"]


@pytest.mark.parametrize("given", ["draft, rejected", "draft, voided", "submitted"])
def test_a_rejected_attempt_made_from_elsewhere_is_a_draft_again(given: str) -> None:
    """A rejected claim that was made from a draft or an open claim stays the current one, as a draft."""
    told = claim([*GIVEN[given], replacement(day=41, charge="99.00"), response("rejected", day=42)])
    assert (said(told), told["money"]["billed"], told["facets"]["attempt"]) == ("draft rejected", "99.00", 2)
    assert told["facets"]["acknowledgement"] == "rejected"


def test_attempts_are_numbered_in_the_order_opened() -> None:
    """The number of an attempt that was undone is not given again."""
    undone = [replacement(day=41), response("rejected", day=42)]
    assert claim([*GIVEN["denied"], *undone])["facets"]["attempt"] == 1
    assert claim([*GIVEN["denied"], *undone, replacement(day=43)])["facets"]["attempt"] == 3


def test_a_rejection_of_a_void_takes_the_void_back() -> None:
    """A claim whose void the payer did not take stands where it stood."""
    told = claim([*GIVEN["appealed"], void(day=40), response("rejected", day=41)])
    assert (told["state"], told["facets"]["acknowledgement"], told["facets"]["appeal_level"]) == (
        *("appealed", "rejected", 1),
    )


def test_a_rejection_of_another_known_submission_does_not_move_an_open_attempt() -> None:
    """In submitted, a rejection of a void, an appeal or a resubmission is recorded."""
    voided = [original(), void(submission_id="VOID-1"), original(day=30)]
    appealed = [original(), DENIED, appeal(submission_id="APP-1"), replacement(day=33)]
    refiled = [original(), DENIED, appeal(), original(day=33, submission_id="AGAIN"), replacement(day=34)]
    for story, name in ((voided, "VOID-1"), (appealed, "APP-1"), (refiled, "AGAIN")):
        told = claim([*story, response("rejected", day=40, submission_id=name)])
        assert told["facets"] == claim(story)["facets"]
        assert (told["state"], told["rejection_reasons"]) == ("submitted", [])


def test_a_secondary_claim_follows_an_approval() -> None:
    """An original to a payer of higher rank opens an attempt and awaits that payer."""
    told = claim([*GIVEN["approved"], original(day=30, rank=2)])
    assert (told["state"], told["facets"]["payer_rank"], told["facets"]["attempt"]) == ("submitted", 2, 2)
    assert becomes([original(rank=2), PAID, original(day=30)]) == "set_aside already_approved"


def test_a_new_attempt_begins_afresh() -> None:
    """A replacement resets acknowledgement, needs-information and appeal level."""
    story = [*GIVEN["appealed"], response("accepted", day=33), response("information_requested", day=34)]
    facets = claim([*story, replacement(day=40)])["facets"]
    assert (facets["acknowledgement"], facets["needs_information"], facets["appeal_level"]) == ("none", False, 0)
