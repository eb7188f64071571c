"""Every metric: its name, type, labels, unit, what it means and what to do about it; and the page that says so."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple, get_args

Kind = Literal["counter", "gauge", "histogram", "gauge histogram", "info"]


class Metric(NamedTuple):
    """One metric; a gauge histogram is a histogram whose buckets may also fall."""

    name: str
    kind: Kind
    labels: tuple[str, ...]
    unit: str
    meaning: str
    action: str


# From each tracker process, since it started.
TRACKER: Final = (
    Metric(
        *("claimpath_records_total", "counter", ("topic", "outcome"), "records"),
        "Records of Kafka taken, by what became of them.",
        "A growing share of dead_letter: look at `claimpath dead-letters list`. Any gap: see claimpath_gaps_total.",
    ),
    Metric(
        *("claimpath_transitions_total", "counter", ("from", "to"), "changes of state"),
        "Changes of claims' states, those rewritten by late events counted again.",
        "Nothing; it shows the flow between states. None while records come in: they are repetitions.",
    ),
    Metric(
        *("claimpath_corrections_total", "counter", (), "claims"),
        "Claims whose past was rewritten by a late event.",
        "A sudden rise: a source delivers late or with wrong times. Reports made before may show other numbers.",
    ),
    Metric(
        *("claimpath_conflicts_total", "counter", (), "events"),
        "Events that carried the identity of another event with other content; the first stays in force.",
        "Any: a source uses ids twice. Compare both with `claimpath dead-letters show`, then correct the source.",
    ),
    Metric(
        *("claimpath_refusals_total", "counter", ("topic", "reason"), "records"),
        "Records that became dead letters, by reason.",
        "See `claimpath dead-letters list`; unknown_version: this release is older than a publisher's.",
    ),
    Metric(
        *("claimpath_seconds_behind", "gauge", ("topic",), "seconds"),
        "Age of the oldest record under way, or for how long there is lag, whichever is more; 0 where none is behind.",
        "Rising: PostgreSQL is slow or away (claimpath_retries_total), or one tracker is too few: start another.",
    ),
    Metric(
        *("claimpath_lag_records", "gauge", ("topic",), "records"),
        "Records not yet taken, of the tracker's partitions.",
        "As claimpath_seconds_behind.",
    ),
    Metric(
        *("claimpath_batch_seconds", "histogram", ("phase",), "seconds"),
        "Time of a batch by phase: decode, lock, lookup, fold, write, commit.",
        "Slow commit or write: the disk of PostgreSQL. Slow lock: several trackers with the same claims.",
    ),
    Metric(
        *("claimpath_batch_records", "histogram", (), "records"),
        "Records in a batch.",
        "Always at the limit while behind is right; always tiny while behind: Kafka's fetches are too small.",
    ),
    Metric(
        *("claimpath_retries_total", "counter", ("kind",), "attempts"),
        "Attempts to write a batch that were rolled back and made again.",
        "connection: PostgreSQL is away. resource: disk, memory or connections are used up. timeout: a lock is held.",
    ),
    Metric(
        *("claimpath_gaps_total", "counter", ("kind",), "offsets"),
        "Offsets that held no record: no_record never did, lost ones were deleted by Kafka before they were taken.",
        "lost: events are missing. Publish them again (repetitions do no harm) and lengthen the topics' retention.",
    ),
    Metric(
        *("claimpath_generations_total", "counter", (), "partitions"),
        "Partitions found shorter than what was taken of them: the topic was deleted and made anew.",
        "Find out who did it. Nothing taken is lost; what was in the old topic and not taken is.",
    ),
    Metric(
        *("claimpath_tracker_last_progress_timestamp_seconds", "gauge", (), "seconds since 1970-01-01"),
        "When the tracker last took a batch, or saw that there was none.",
        "Old while there is lag: the watchdog ends the tracker soon; if it does not, restart it.",
    ),
    Metric(
        *("claimpath_build_info", "info", ("version",), ""),
        "The release that runs; always 1.",
        "Two versions for long: an upgrade stopped half-way.",
    ),
)

# From each intake process, since it started.
INTAKE: Final = (
    Metric(
        *("claimpath_intake_events_total", "counter", ("outcome",), "events"),
        "Events given to the intake, by what became of them; what failed may be given again.",
        "refused: see claimpath_intake_refusals_total. failed: Kafka is away or its topics unfit; `claimpath doctor`.",
    ),
    Metric(
        *("claimpath_intake_refusals_total", "counter", ("reason",), "events"),
        "Events refused, by reason. They never reach Kafka: the publisher was told, and nothing else keeps them.",
        "A sudden rise: a publisher changed its form. Nobody gives these events again unless it corrects them.",
    ),
)

# From each process that watches a folder, since it started.
WATCH: Final = (
    Metric(
        *("claimpath_intake_file_events_total", "counter", ("event",), "events"),
        "Events published from files of X12, by what happened.",
        "None while files come in: look into failed/.",
    ),
    Metric(
        *("claimpath_intake_files_total", "counter", ("result",), "files"),
        "Files of X12 read to their end, by the folder that they were moved to.",
        "failed: read the report beside the file in failed/; correct it or ask for it again, and put it in the folder.",
    ),
    Metric(
        *("claimpath_intake_findings_total", "counter", ("finding",), "findings"),
        "What was out of the ordinary in files whose claims were published all the same, by kind.",
        "claim_balance, line_balance, remittance_balance: the money does not add up; the report names the segment.",
    ),
    Metric(
        *("claimpath_intake_unknown_reasons_total", "counter", (), "adjustments"),
        "Adjustment reasons in remittances that X12's list, as this release has it, does not hold.",
        "The report names them. A new code: update claimpath, as it may decide between denied and approved.",
    ),
    Metric(
        *("claimpath_intake_waiting_files", "gauge", (), "files"),
        "Files in the folder that were not read to their end yet.",
        "Growing: Kafka is away, or files come faster than one process reads them; its log says which.",
    ),
    Metric(
        *("claimpath_intake_waiting_oldest_seconds", "gauge", (), "seconds"),
        "How long ago the oldest of them was last written to; 0 where there is none.",
        "Minutes: an upload that never ended (its name ends in .part, .tmp, .filepart or .crdownload), or see above.",
    ),
)

# From PostgreSQL, by the API process: the same on every replica, and true after restarts and replays.
BUSINESS: Final = (
    Metric(
        *("claimpath_claims", "gauge", ("state", "payer"), "claims"),
        "Claims by state; none are those of which only waiting events are known.",
        "Denied growing at one payer: see claimpath_denials. Many in none: a topic is behind or a source silent.",
    ),
    Metric(
        *("claimpath_open_dollars", "gauge", ("state", "payer"), "dollars"),
        "Billed and neither paid, adjusted nor left to the patient.",
        "Open dollars in denied are lost unless somebody appeals or corrects in time.",
    ),
    Metric(
        *("claimpath_duration_seconds", "gauge histogram", ("measure", "payer", "window"), "seconds"),
        "How long what has ended took, by the day on which it ended.",
        "The share above a contract's or law's limit is what to take to the payer; look at open ages beside it.",
    ),
    Metric(
        *("claimpath_open_age_seconds", "gauge histogram", ("measure", "payer"), "seconds"),
        "How long what has not ended has taken so far, in whole days.",
        "Growing while durations look good: the payer answers the easy claims only.",
    ),
    Metric(
        *("claimpath_waiting_events", "gauge", ("reason",), "events"),
        "Accepted events that cannot apply before another one comes.",
        "no_submission: the billing source is behind or silent. no_decision: remittances are missing.",
    ),
    Metric(
        *("claimpath_waiting_oldest_seconds", "gauge", (), "seconds"),
        "How long ago the event that waits longest was recorded; 0 where none waits.",
        "Days: what it waits for was lost upstream. `claimpath claim show` names it.",
    ),
    Metric(
        *("claimpath_set_aside_events", "gauge", ("reason",), "events"),
        "Accepted events that can never apply, by reason.",
        "A sudden rise of one reason: a source changed its habits.",
    ),
    Metric(
        *("claimpath_dead_letters", "gauge", ("reason",), "records"),
        "Dead letters not yet replayed.",
        "`claimpath dead-letters list`, correct the source, then `claimpath dead-letters replay`.",
    ),
    Metric(
        *("claimpath_dead_letters_oldest_seconds", "gauge", (), "seconds"),
        "How long ago the oldest of them was refused; 0 where there is none.",
        "Days: nobody looks at them, and their claims are wrong.",
    ),
    Metric(
        *("claimpath_findings", "gauge", ("finding", "payer"), "claims"),
        "Claims with a finding: something out of the ordinary in their events.",
        "late_charge and clock: the source. credit_balance: money to return. duplicate_denial: claims sent twice.",
    ),
    Metric(
        *("claimpath_denials", "gauge", ("payer", "reason"), "claims"),
        "Claims denied or under appeal, by each reason (group and CARC) of the denial in force.",
        "The most frequent reason is the one to prevent: authorization, documentation, coding, eligibility.",
    ),
    Metric(
        *("claimpath_gap_records", "gauge", ("kind",), "offsets"),
        "All offsets that held no record, as claimpath_gaps_total.",
        "As claimpath_gaps_total.",
    ),
)
CATALOGUE: Final = {metric.name: metric for metric in (*TRACKER, *INTAKE, *WATCH, *BUSINESS)}

LABELS: Final = {
    "topic": "The topic without CLAIMPATH_TOPIC_PREFIX.",
    "outcome": "Of records accepted, duplicate, dead_letter, gap: their sum is the offsets taken. "
    "Of an intake's events published, refused, failed.",
    "from, to, state": "draft, submitted, approved, denied, appealed; none before any.",
    "reason": "Why a record or an event was refused, waits or is set aside; of denials group and CARC, or other.",
    "phase": "decode (Kafka's bytes to events), lock, lookup, fold, write, commit.",
    "kind": "Of retries: connection, collision, timeout, resource, other. Of gaps: no_record, lost.",
    "payer": "The payer's id; those with the fewest claims together as other, claims without one as unknown.",
    "measure": "charge_lag, acknowledgement, decision, denial_to_appeal, appeal, payment, reimbursement.",
    "window": "What ended in the last 30d or 90d (UTC days with today), or all.",
    "event": "What was submitted or answered, in the words of the contract, as original or approved.",
    "result": "done; failed where something in the file could not be read.",
    "finding": "Of claims the closed set that `claimpath claim show` prints, of files that of `claimpath intake`.",
}


def words(closed_set: Any) -> tuple[str, ...]:  # noqa: ANN401  (a type expression)
    """Return the words of a Literal, or of a union of them: the values that such a label can have."""
    parts = get_args(closed_set)
    return tuple(word for part in parts for word in (words(part) or (part,)))


def page() -> str:
    """Return the catalogue as a page of Markdown."""
    return "\n".join(
        [
            *(_INTRODUCTION, *_table(TRACKER)),
            *(_INTAKE_INTRODUCTION, *_table(INTAKE)),
            *(_WATCH_INTRODUCTION, *_table(WATCH)),
            *(_BUSINESS_INTRODUCTION, *_table(BUSINESS)),
            *(_LABELS, *_labels(), ""),
        ]
    )


_INTRODUCTION: Final = """\
# Metrics

<!-- Written by `python -m services.catalogue`; change `services/catalogue.py` instead. -->

## Of each tracker process (`CLAIMPATH_TRACKER_LISTEN`, path /metrics)

Counted since the process started. Beside them, the `process_…` metrics every Prometheus client has.
"""
_INTAKE_INTRODUCTION: Final = """
## Of each HTTP intake (`claimpath intake serve`; `CLAIMPATH_INTAKE_LISTEN`, path /metrics)

With the intake's token. Counted since the process started. Beside them, `claimpath_build_info` and the `process_…`
metrics.
"""
_WATCH_INTRODUCTION: Final = """
## Of each folder that is watched (`claimpath intake watch`; `CLAIMPATH_WATCH_LISTEN`, path /metrics)

Counted since the process started. Beside them, `claimpath_build_info` and the `process_…` metrics.
"""
_BUSINESS_INTRODUCTION: Final = """
## Of the API process (`CLAIMPATH_API_LISTEN`, path /metrics, with the token)

Read from PostgreSQL at each scrape, from sums that the trackers keep in the transaction of the events themselves:
they are exact, outlive restarts and replays, and are the same on every replica (so never add replicas up). A late
event or a reversal restates the past, hence everything is a gauge: use neither `rate` nor `increase`. A *gauge
histogram* has cumulative `_bucket`s by `le` in seconds (the edges are the days that matter: 1, 3, 7, 10, 14, 15, 21,
30, 31, 45, 60, 90, 120, 180, 365), a `_gcount` and a `_gsum`; `histogram_quantile` reads its buckets as they are.
Beside them, `claimpath_build_info` and the `process_…` metrics.
"""
_LABELS: Final = """
## Labels

All closed sets, or capped; never a claim, a patient or a provider.

| Label | Values |
|---|---|"""


def _table(metrics: tuple[Metric, ...]) -> Iterator[str]:
    yield "| Metric | Type | Labels | Unit | Meaning | What to do |"
    yield "|---|---|---|---|---|---|"
    for metric in metrics:
        labels = ", ".join(metric.labels)
        yield f"| `{metric.name}` | {metric.kind} | {labels} | {metric.unit} | {metric.meaning} | {metric.action} |"


def _labels() -> Iterator[str]:
    for label, values in LABELS.items():
        yield f"| {label} | {values} |"


if __name__ == "__main__":
    Path(__file__).parents[1].joinpath("infra", "METRICS.md").write_text(page(), encoding="utf-8")
