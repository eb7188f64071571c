"""A claim's story told anew, event by event: what each does in each state, and which have to wait."""

from tests.faults import retold_money
from tests.faults.retold_claim import STATE, Appeal, Attempt, Stand, Story
from tests.faults.retold_facts import (
    Fact,
    cents,
    decided,
    denial_reasons,
    is_duplicate_denial,
    line_date,
    paid,
    rejection_reasons,
    session_content,
    takes_back_a_denial,
)
from tests.faults.retold_money import Ledger

SUBMISSIONS = ("original", "replacement", "void", "appeal")

Fate = tuple[str, str]
"""What becomes of an event: applied, waiting or set_aside, and why."""
APPLIED: Fate = ("applied", "")


def told(facts: list[Fact]) -> Story:
    """Return the story of the events, each of them once, in any order."""
    story = Story()
    for fact in sorted(facts, key=lambda fact: fact[:4]):
        story.last = fact
        if happens(story, fact, fact.time_us):
            while any(happens(story, waiting, fact.time_us) for waiting, _ in list(story.waiting)):
                pass
    return story


def happens(story: Story, fact: Fact, at_us: int) -> bool:
    """Let the event happen at that time, or note that it waits or never can; say whether it applied."""
    story.waiting = [(other, reason) for other, reason in story.waiting if other is not fact]
    before = STATE[story.row]
    fate, reason = read_cell(story, fact)
    story.fates[fact.source, fact.id] = (fate, reason)
    if fate == "waiting":
        story.waiting.append((fact, reason))
        story.waiting.sort(key=lambda wait: wait[0][:4])
    elif fate == "set_aside":
        story.set_aside[reason] += 1
    else:
        story.applied += 1
        if STATE[story.row] != before:
            change = (before, STATE[story.row], at_us, fact.recorded_at_us, fact.source, fact.id)
            story.history.append(change)
    return fate == "applied"


def read_cell(story: Story, fact: Fact) -> Fate:
    """Read the table's cell for the event in the order in which it is to be read, and do what it says."""
    if fact.kind == "session":
        return session(story, fact)
    if fact.kind in SUBMISSIONS:
        if fact.data["submission_id"] in story.submissions:
            return ("set_aside", "same_submission")
        column = {"original": original, "replacement": replacement, "void": void, "appeal": appealed}[fact.kind]
        fate = column(story, fact)
        if fate == APPLIED:
            story.submissions.setdefault(fact.data["submission_id"], 0)
        return fate
    if story.row in {"none", "draft_new"}:
        return ("waiting", "no_submission")
    return response(story, fact)


def response(story: Story, fact: Fact) -> Fate:
    """What a payer or clearinghouse answers to a claim that was submitted."""
    if fact.kind == "reversed" and not story.decision_seen:
        return ("waiting", "no_decision")
    named: str | None = fact.data.get("submission_id")
    rank = fact.data.get("payer_rank") or story.attempt.rank
    if rank != story.attempt.rank:
        fate = of_another_rank(story, fact, rank)
    elif (
        fact.kind not in {"approved", "reversed"}
        and named is not None
        and 0 < story.submissions.get(named, 0) < story.current
    ):
        fate = APPLIED  # It answers an earlier attempt, and is recorded.
    else:
        column = {"rejected": rejected, "reversed": reversal, "denied": denied, "approved": approved}
        fate = column.get(fact.kind, facet)(story, fact)
    if fate == APPLIED and fact.kind in {"approved", "denied"}:
        story.decision_seen = True
    if fate == APPLIED and named is not None and named not in story.submissions:
        story.findings.add("unknown_submission")
    return fate


def of_another_rank(story: Story, fact: Fact, rank: int) -> Fate:
    """A payer that is not asked now is recorded; its money counts, and a higher one may approve what was denied."""
    if fact.kind in {"approved", "reversed"}:
        count(story, fact, rank)
    if fact.kind == "approved" and story.row == "denied" and rank > story.attempt.rank:
        story.needs_information = False
        become_approved(story)
        story.rejection_reasons = []
    return APPLIED


def session(story: Story, fact: Fact) -> Fate:
    """A session is documented: a claim begins, or is amended."""
    if story.row == "none":
        story.row = "draft_new"
    now = session_content(fact.data)
    if story.attempts and story.sessions.get(fact.data["session_id"]) != now:
        story.findings.add("late_charge")
    story.sessions[fact.data["session_id"]] = now
    story.session_payer = fact.data["payer_id"]
    return APPLIED


def original(story: Story, fact: Fact) -> Fate:
    """The claim is sent, or sent again."""
    if story.row == "approved" and fact.data["payer_rank"] <= story.attempt.rank:
        return ("set_aside", "already_approved")
    if story.row == "appealed":
        story.findings.add("resubmitted_under_appeal")
        return APPLIED
    return replacement(story, fact)


def replacement(story: Story, fact: Fact) -> Fate:
    """The claim is sent in place of an earlier one: that opens the question anew from any state."""
    before = stand(story) if story.row in {"approved", "denied", "appealed"} else None
    attempt = Attempt(
        submission_id=fact.data["submission_id"],
        payer=fact.data["payer_id"],
        rank=fact.data["payer_rank"],
        charge=cents(fact.data["total_charge"]),
        at_us=fact.time_us,
        line_date=line_date(fact),
        before=before,
    )
    story.attempts.append(attempt)
    story.current = len(story.attempts)
    story.submissions[attempt.submission_id] = story.current
    story.row = "submitted"
    story.acknowledgement = "none"
    story.needs_information = False
    story.appeal_level = 0
    if story.appeal is not None and story.appeal.decided_on is None:
        story.appeal = None
    return APPLIED


def void(story: Story, _fact: Fact) -> Fate:
    """The claim is taken back."""
    if story.row == "none":
        return ("waiting", "no_submission")
    if story.row in {"draft_new", "draft_rejected", "draft_voided"}:
        return ("set_aside", "nothing_to_void")
    story.before_void = stand(story)
    story.row = "draft_voided"
    return APPLIED


def appealed(story: Story, fact: Fact) -> Fate:
    """A decision is disputed."""
    if story.row in {"none", "draft_new"}:
        return ("waiting", "no_submission")
    if story.row == "submitted":
        return ("waiting", "no_decision")
    if story.row == "draft_rejected":
        return ("set_aside", "never_adjudicated")
    if story.row == "draft_voided":
        return ("set_aside", "voided")
    if story.row == "approved" and overtaken(story, fact):
        return ("set_aside", "overtaken")
    if story.row == "denied" and story.unprocessable:
        return ("set_aside", "not_appealable")
    if story.row == "appealed" and story.appeal is not None:
        # The next level disputes what the last one did.
        story.appeal = story.appeal._replace(at_us=fact.time_us, payer=story.attempt.payer)
    elif story.row == "approved":
        story.appeal = Appeal(fact.time_us, story.attempt.payer, from_approval=True, denied_on=None)
    else:
        story.appeal = Appeal(fact.time_us, story.attempt.payer, from_approval=False, denied_on=story.denied_on)
    level = (fact.data.get("appeal") or {}).get("level")
    story.appeal_level = level or story.appeal_level + 1
    story.row = "appealed"
    return APPLIED


def facet(story: Story, fact: Fact) -> Fate:
    """What colours a claim that is asked or decided, and moves nothing."""
    if story.row in {"draft_rejected", "draft_voided"}:
        return ("set_aside", "attempt_over")
    if fact.kind == "accepted":
        story.rejection_reasons = []
    if fact.kind == "accepted" and fact.data["sender"] == "payer":
        story.acknowledgement = "accepted"
        if story.attempt.accepted_at_us is None:
            story.attempt.accepted_at_us = fact.time_us
    elif fact.kind in {"acknowledged", "accepted"} and story.acknowledgement != "accepted":
        story.acknowledgement = "received"
    elif fact.kind == "information_requested":
        story.needs_information = True
    return APPLIED


def rejected(story: Story, fact: Fact) -> Fate:
    """A submission did not get through the front door: it is as if it had not been made."""
    if story.row in {"approved", "denied", "appealed"}:
        return ("set_aside", "already_decided")
    earlier_reasons = story.rejection_reasons if story.row == "draft_rejected" else []
    if story.row == "draft_voided":
        go_back(story, story.before_void)
    elif story.row == "submitted":
        named = fact.data.get("submission_id")
        if named is not None and story.submissions.get(named, story.current) != story.current:
            return APPLIED  # It rejects a void, an appeal, or an attempt that was undone already.
        if story.attempt.before is None:
            story.row = "draft_rejected"
        else:
            go_back(story, story.attempt.before)
    story.acknowledgement = "rejected"
    story.rejection_reasons = list(dict.fromkeys([*earlier_reasons, *rejection_reasons(fact)]))
    return APPLIED


def reversal(story: Story, fact: Fact) -> Fate:
    """A decision is taken back."""
    count(story, fact, story.attempt.rank)
    if (story.row == "approved" and not stands(story)) or (story.row == "denied" and takes_back_a_denial(fact)):
        story.row = "submitted"
    return APPLIED


def denied(story: Story, fact: Fact) -> Fate:
    """The payer will not pay."""
    if story.row == "draft_voided":
        story.findings.add("decided_after_void")
        return APPLIED
    if story.row == "approved":
        number = fact.data.get("payer_claim_number")
        ledger = story.ledgers.get(story.attempt.rank, Ledger())
        if is_duplicate_denial(fact):
            return ("set_aside", "duplicate_denial")
        if number is None or not ledger.claim_numbers or number in ledger.claim_numbers:
            return ("waiting", "no_reversal")
        story.findings.add("partial_denial")
        return APPLIED
    if story.row == "draft_rejected":
        story.findings.add("no_open_submission")
    decide(story, fact)
    if story.row == "submitted" and is_duplicate_denial(fact) and stands(story):
        story.findings.add("duplicate_denial")
        become_approved(story)
    elif story.row == "appealed" and story.appeal is not None and story.appeal.from_approval and stands(story):
        story.findings.add("appeal_lost")
        become_approved(story)
    else:
        story.row = "denied"
        story.denied_on = decided(fact)
        story.denial_reasons = denial_reasons(fact)
        story.unprocessable = "MA130" in fact.data.get("remarks", [])
    return APPLIED


def approved(story: Story, fact: Fact) -> Fate:
    """The payer allows the claim, in whole or in part."""
    count(story, fact, story.attempt.rank)
    story.rejection_reasons = []
    story.needs_information = False
    if story.row == "draft_voided":
        story.findings.add("decided_after_void")
        return APPLIED
    if story.row == "draft_rejected":
        story.findings.add("no_open_submission")
    decide(story, fact)
    become_approved(story)
    return APPLIED


def decide(story: Story, decision: Fact) -> None:
    """Note when the question was decided: the attempt's first time, and the appeal's."""
    story.needs_information = False
    if story.attempt.decided_on is None:
        story.attempt.decided_on = decided(decision)
    if story.row == "appealed" and story.appeal is not None:
        story.appeal = story.appeal._replace(decided_on=decided(decision))


def become_approved(story: Story) -> None:
    """Let the claim be approved: no denial is in force."""
    story.row = "approved"
    story.denial_reasons = []


def count(story: Story, decision: Fact, rank: int) -> None:
    """Add up an approval's or a reversal's money, and note when the claim came to be paid."""
    before = retold_money.net_paid(story.ledgers)
    retold_money.count(story.ledgers, rank, decision)
    if before <= 0 < retold_money.net_paid(story.ledgers):
        story.paid_on = paid(decision)
        story.paid_by = story.attempt.payer


def stand(story: Story) -> Stand:
    """Return where the claim stands now."""
    return Stand(story.row, story.current, story.needs_information, story.appeal_level, story.appeal)


def go_back(story: Story, before: Stand | None) -> None:
    """Let the claim stand where it stood."""
    if before is not None:
        story.row, story.current, story.needs_information, story.appeal_level, story.appeal = before
        if story.row == "approved":
            become_approved(story)


def stands(story: Story) -> bool:
    """Say whether an approval of the rank asked now is in force."""
    return story.attempt.rank in story.ledgers and story.ledgers[story.attempt.rank].stands


def overtaken(story: Story, appeal: Fact) -> bool:
    """Say whether the latest approval of the rank asked now came after the appeal."""
    approval = story.ledgers.get(story.attempt.rank, Ledger()).approved_by
    return approval is not None and appeal[:4] < approval[:4]
