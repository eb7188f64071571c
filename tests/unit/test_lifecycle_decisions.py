"""The rules, by both tellings: acknowledgements, denials, appeals, sessions and the reasons shown."""

import pytest

from events.contracts import Event, ResponseKind
from tests.stories import appeal, original, replacement, response, session, void
from tests.tellings import claim

PAID = response("approved", paid="50.00", allowed="60.00", pcn="PCN-1")
DENIED = response("denied")
DUPLICATE = response("denied", day=40, adjustments=["CO-18 130.00"])


def outcome(*events: Event) -> tuple[str, str | None, str | None, list[str]]:
    """Outcome and reason of the last event, the state and the findings."""
    told = claim(events)
    (entry,) = [entry for entry in told["events"] if entry["id"] == events[-1].id]
    return entry["outcome"], entry["reason"], told["state"], told["findings"]


def acknowledgement(*events: Event) -> object:
    """The acknowledgement facet after these events."""
    return claim(events)["facets"]["acknowledgement"]


def test_the_acknowledgement_grows_and_does_not_fall_back() -> None:
    """Received comes of a receipt or a clearinghouse's acceptance, accepted of the payer's, which nothing lowers."""
    received = response("acknowledged", day=5)
    passed_on = response("accepted", day=6, sender="clearinghouse")
    accepted = response("accepted", day=7)
    assert acknowledgement(original()) == "none"
    assert acknowledgement(original(), received) == "received"
    assert acknowledgement(original(), passed_on) == "received"
    assert acknowledgement(original(), accepted) == "accepted"
    late = [response("acknowledged", day=8), response("accepted", day=9, sender="clearinghouse")]
    assert acknowledgement(original(), accepted, *late) == "accepted"


def test_a_rejection_is_an_acknowledgement_and_a_later_one_replaces_it() -> None:
    """After an undone void the payer's word on the claim itself counts again."""
    undone = [original(), void(day=6), response("rejected", day=7)]
    assert acknowledgement(*undone) == "rejected"
    assert acknowledgement(*undone, response("acknowledged", day=8)) == "received"
    assert acknowledgement(*undone, response("accepted", day=8)) == "accepted"


@pytest.mark.parametrize("decision", ["approved", "denied"])
def test_a_decision_ends_the_need_for_information(decision: ResponseKind) -> None:
    """Information is needed from its request until a decision, whatever is pended or forwarded meanwhile."""
    asked = [original(), response("information_requested", day=6), response("pended", day=7)]
    asked += [response("forwarded", day=8)]
    assert claim(asked)["facets"]["needs_information"]
    assert not claim([*asked, response(decision)])["facets"]["needs_information"]


def test_a_recorded_denial_does_not_end_the_need_for_information() -> None:
    """A denial of a part leaves the question open."""
    asked = [original(), PAID, response("information_requested", day=30)]
    assert claim([*asked, response("denied", day=40, pcn="PCN-2")])["facets"]["needs_information"]


def test_a_denial_after_an_approval_waits_for_the_reversal() -> None:
    """A payer takes back an approval before it denies; the denial applies when that came."""
    denied = response("denied", day=30, pcn="PCN-1")
    assert outcome(original(), PAID, denied)[:3] == ("waiting", "no_reversal", "approved")
    back = response("reversed", day=31, paid="-50.00", allowed="-60.00")
    told = claim([original(), PAID, denied, back])
    assert told["state"] == "denied"
    assert [change["at"][:10] for change in told["history"]][-2:] == ["2026-03-31", "2026-03-31"]


def test_a_denial_with_another_payer_claim_number_is_of_a_part() -> None:
    """A split claim is approved under one number and denied under another: recorded, not moved."""
    other = response("denied", day=30, pcn="PCN-2")
    assert outcome(original(), PAID, other) == ("applied", None, "approved", ["partial_denial"])
    assert claim([original(), PAID, other])["denial_reasons"] == []
    unnumbered = response("approved", paid="50.00", allowed="60.00")
    assert outcome(original(), unnumbered, other)[:2] == ("waiting", "no_reversal")
    both = response("approved", day=21, paid="1.00", allowed="1.00", pcn="PCN-2")
    assert outcome(original(), PAID, both, other)[:2] == ("waiting", "no_reversal")
    secondary = response("approved", day=21, paid="1.00", allowed="1.00", pcn="PCN-2", rank=2)
    assert outcome(original(), PAID, secondary, other)[3] == ["partial_denial"]


@pytest.mark.parametrize("reason", ["CO-18", "OA-B13"])
def test_a_duplicate_denial_never_takes_an_approval_away(reason: str) -> None:
    """A copy is denied as a duplicate: aside when approved; where a resubmission waits, the approval is the answer."""
    denial = response("denied", day=40, adjustments=[f"{reason} 130.00"])
    assert outcome(original(), PAID, denial)[:3] == ("set_aside", "duplicate_denial", "approved")
    again = outcome(original(), PAID, replacement(), denial)
    assert again == ("applied", None, "approved", ["duplicate_denial"])
    assert claim([original(), PAID, replacement(), denial])["denial_reasons"] == []


def test_a_duplicate_denial_without_a_standing_approval_denies() -> None:
    """Only an approval of that rank that stands turns a duplicate denial."""
    assert outcome(original(), DUPLICATE)[2:] == ("denied", [])
    secondary = original(day=30, rank=2)
    assert outcome(original(), PAID, secondary, DUPLICATE)[2:] == ("denied", [])


def test_a_reversal_of_a_denial_opens_the_claim() -> None:
    """Only a reversal that moves no money takes a denial back."""
    moves = response("reversed", day=30, paid="-1.00", allowed="0.00")
    back = response("reversed", day=31, paid="0.00", allowed="0.00")
    assert outcome(original(), DENIED, moves)[2] == "denied"
    assert outcome(original(), DENIED, back)[2] == "submitted"


def test_an_approval_stands_until_all_of_it_is_taken_back() -> None:
    """While either paid or allowed is left, net, the claim stays approved."""
    part = response("reversed", day=30, paid="-50.00", allowed="-10.00")
    rest = response("reversed", day=31, paid="0.00", allowed="-50.00")
    assert outcome(original(), PAID, part)[2] == "approved"
    assert outcome(original(), PAID, part, rest)[2] == "submitted"


def test_an_appeal_older_than_the_approval_is_overtaken() -> None:
    """An appeal that waited for a decision has nothing to fight when the decision is good."""
    early = appeal(day=10)
    told = claim([original(), early, PAID])
    assert told["events"][1]["reason"] == "overtaken"
    back, again = response("reversed", day=22, paid="-50.00", allowed="-60.00"), response("approved", day=30)
    between = appeal(day=25)
    told = claim([original(), PAID, back, between, again])
    assert [entry["reason"] for entry in told["events"] if entry["id"] == between.id] == ["overtaken"]
    denied_first = [original(), early, response("denied", day=15)]
    assert claim(denied_first)["state"] == "appealed"


def test_an_appeal_is_overtaken_by_any_later_approval_of_the_payer_awaited() -> None:
    """More money from the primary, while the secondary is asked, answers the appeal that waited against the primary."""
    asked = [original(), PAID, original(day=30, rank=2), appeal(day=32), response("rejected", day=40)]
    assert claim(asked)["state"] == "appealed"
    told = claim([*asked, response("approved", day=35, rank=1)])
    assert told["state"] == "approved"
    assert [entry["reason"] for entry in told["events"] if entry["id"] == asked[3].id] == ["overtaken"]


def test_what_was_approved_without_any_approval_can_be_appealed() -> None:
    """A correction that leaves an amount beside a duplicate's denial makes an approval that nothing overtakes."""
    left = response("reversed", day=30, paid="50.00", allowed="60.00")
    assert outcome(original(), DENIED, replacement(), left, DUPLICATE)[2] == "approved"
    assert outcome(original(), DENIED, replacement(), left, DUPLICATE, appeal(day=50))[2] == "appealed"


def test_an_approval_after_a_void_ends_what_the_payer_asked() -> None:
    """A withdrawn claim stays so; its payer needs nothing and rejects nothing any more; a denial changes nothing."""
    again = [original(), response("rejected", day=5), original(day=7), response("information_requested", day=8), void()]
    denied = claim([*again, response("denied", day=30)])
    approved = claim([*again, response("approved", day=30)])
    assert (denied["facets"]["needs_information"], denied["rejection_reasons"]) == (True, ["A3:562:82"])
    assert (approved["facets"]["needs_information"], approved["rejection_reasons"]) == (False, [])
    assert denied["state"] == approved["state"] == "draft"


def test_what_cannot_be_appealed_is_not() -> None:
    """MA130 on the latest denial means an unprocessable claim: no appeal right, send a new one."""
    closed = response("denied", day=15, remarks=["MA130"])
    assert outcome(original(), closed, appeal())[:2] == ("set_aside", "not_appealable")
    assert outcome(original(), closed, DENIED, appeal())[2] == "appealed"
    assert outcome(original(), response("denied", day=10), closed, appeal())[1] == "not_appealable"


def test_an_appeal_lost_from_an_approval_leaves_the_approval() -> None:
    """An underpayment appeal that fails takes nothing that was paid, at whatever level it fails."""
    lost = response("denied", day=50)
    story = [original(), PAID, appeal(reason="underpayment")]
    assert outcome(*story, lost) == ("applied", None, "approved", ["appeal_lost"])
    assert outcome(*story, appeal(day=40), lost)[2:] == ("approved", ["appeal_lost"])
    taken_back = response("reversed", day=45, paid="-50.00", allowed="-60.00")
    assert outcome(*story, taken_back, lost)[2:] == ("denied", [])
    assert outcome(original(), PAID, replacement(), DENIED, response("denied", day=30), appeal(), lost)[2:] == (
        *("denied", []),
    )


def test_appeal_levels_count_on_where_none_is_given() -> None:
    """A level is the appeal's own, else one more than the last."""
    first, second, third = appeal(day=32), appeal(day=33, level=3), appeal(day=34)
    levels = [claim([original(), DENIED, *made])["facets"]["appeal_level"] for made in ([first], [first, second])]
    assert levels == [1, 3]
    assert claim([original(), DENIED, first, second, third])["facets"]["appeal_level"] == 4


def test_an_original_under_appeal_opens_no_attempt() -> None:
    """A claim sent again while its appeal runs is noted; its id is known and its charge is not billed."""
    again = original(day=40, charge="99.00", submission_id="AGAIN")
    told = claim([original(), DENIED, appeal(), again, response("accepted", day=41, submission_id="AGAIN")])
    assert (told["facets"]["attempt"], told["money"]["billed"]) == (1, "130.00")
    assert (told["findings"], told["facets"]["acknowledgement"]) == (["resubmitted_under_appeal"], "accepted")
    replaced = [original(), DENIED, appeal(), again, replacement(day=41)]
    assert acknowledgement(*replaced, response("accepted", day=42, submission_id="AGAIN")) == "accepted"


@pytest.mark.parametrize(
    ("late", "findings"),
    [
        (session(day=6, session_id="S-2"), ["late_charge"]),
        (session(day=6, served=2, charge="90.00"), ["late_charge"]),
        (session(day=6, served=2, cancelled=True), ["late_charge"]),
        (session(day=6, served=2), []),
        (session(day=3, session_id="S-2"), []),
    ],
)
def test_a_session_new_or_changed_after_the_first_submission_is_a_late_charge(late: Event, findings: list[str]) -> None:
    """What was billed no longer is what was done; the same session told again is nothing new."""
    assert claim([session(), original(), late])["findings"] == findings


def test_denial_reasons_are_those_of_the_latest_denial() -> None:
    """Each reason once, in order; contract, patient and prior-payer amounts are no reasons."""
    amounts = [
        "CO-50 90.00",
        "CO-45 1.00",
        "PR-1 1.00",
        "PR-2 1.00",
        "PR-3 1.00",
        "OA-23 1.00",
        "PR-96 1.00",
        "CO-50 9.00",
    ]
    denied = response("denied", adjustments=amounts)
    assert claim([original(), denied])["denial_reasons"] == ["CO-50", "PR-96"]
    again = response("denied", day=30, adjustments=["CO-197 130.00"])
    assert claim([original(), denied, again])["denial_reasons"] == ["CO-197"]
    other_rank = response("denied", day=30, rank=2, adjustments=["CO-197 130.00"])
    assert claim([original(), denied, other_rank])["denial_reasons"] == ["CO-50", "PR-96"]


def test_denial_reasons_last_until_an_approval() -> None:
    """A new attempt or an appeal does not answer a denial; an approval does, and so does the way back to one."""
    assert claim([original(), DENIED, replacement()])["denial_reasons"] == ["CO-50"]
    assert claim([original(), DENIED, replacement(), response("approved", day=30)])["denial_reasons"] == []
    story = [original(), PAID, replacement(), response("denied", day=30)]
    taken_back = response("reversed", day=31, paid="0.00", allowed="0.00")
    undone = response("rejected", day=32)
    assert claim([*story, taken_back])["denial_reasons"] == ["CO-50"]
    told = claim([*story, taken_back, undone])
    assert (told["state"], told["denial_reasons"]) == ("approved", [])
    refused = [original(), DENIED, replacement(), response("rejected", day=23)]
    assert claim(refused)["denial_reasons"] == ["CO-50"]


def test_an_approval_that_stands_again_leaves_no_denial_reason() -> None:
    """Once approved, a claim tells no reason of a denial, whichever way it came back to its approval."""
    taken_back = response("reversed", day=31, paid="0.00", allowed="0.00")
    told = claim([original(), PAID, replacement(), response("denied", day=30), taken_back, DUPLICATE])
    assert (told["state"], told["denial_reasons"]) == ("approved", [])


def test_rejection_reasons_are_those_of_the_latest_rejection() -> None:
    """A rejected draft collects them; a new attempt's rejection begins again."""
    first = response("rejected", day=5, statuses=["A3:562:82", "A3:21"])
    more = response("rejected", day=6, statuses=["A3:21", "A7:500"])
    assert claim([original(), first])["rejection_reasons"] == ["A3:562:82", "A3:21"]
    assert claim([original(), first, more])["rejection_reasons"] == ["A3:562:82", "A3:21", "A7:500"]
    again = [original(), first, original(day=7)]
    assert claim(again)["rejection_reasons"] == ["A3:562:82", "A3:21"]
    assert claim([*again, response("rejected", day=8, statuses=["A8:1"])])["rejection_reasons"] == ["A8:1"]


@pytest.mark.parametrize(
    "answer", [response("accepted"), response("accepted", sender="clearinghouse"), response("approved")]
)
def test_rejection_reasons_end_with_an_acceptance_or_an_approval(answer: Event) -> None:
    """What was accepted is rejected no more."""
    again = [original(), response("rejected", day=5), original(day=7)]
    assert claim([*again, response("acknowledged", day=8)])["rejection_reasons"] == ["A3:562:82"]
    assert claim([*again, answer])["rejection_reasons"] == []
