"""The seeded faults: what each gets wrong, and the tests that must notice; `NAME.patch` beside this file makes it."""

from typing import Final, NamedTuple


class Mutant(NamedTuple):
    """A fault that could be merged on a tired day."""

    sentence: str
    """What the product does wrong with it."""
    caught_by: tuple[str, ...]
    """The tests, by pytest's node ids, each of which must fail."""


_CODEC: Final = "tests/unit/test_codec.py::test_"
_LIFECYCLE: Final = "tests/unit/test_lifecycle"
_STORE: Final = "tests/integration/test_store.py::test_"
_TRACKER: Final = "tests/integration/test_tracker.py::test_"
_OFFSETS: Final = "tests/integration/test_tracker_offsets.py::test_"
_GROUP: Final = "tests/integration/test_tracker_group.py::test_"
_FAULTS: Final = "tests/integration/test_tracker_faults.py::test_"
_LETTERS: Final = "tests/integration/test_dead_letters.py::test_"

MUTANTS: Final[dict[str, Mutant]] = {
    # --- what Kafka is told, and what is believed of it ---
    "kafka_commits_by_itself": Mutant(
        "Kafka's client commits what it has read every five seconds, whether PostgreSQL has it or not.",
        (f"{_OFFSETS}kafka_is_told_only_of_what_postgres_has",),
    ),
    "committed_before_the_transaction": Mutant(
        "Kafka is told of a batch when a lane has it, before its transaction.",
        (f"{_OFFSETS}kafka_is_told_only_of_what_postgres_has",),
    ),
    "kafkas_offset_trusted": Mutant(
        "A tracker goes on where the group left off in Kafka, not where PostgreSQL is.",
        (f"{_OFFSETS}a_tracker_goes_on_where_a_restored_database_is",),
    ),
    "behind_and_not_going_back": Mutant(
        "A batch beyond PostgreSQL's position is left out, and nobody reads what lies between.",
        (f"{_OFFSETS}a_tracker_goes_on_where_a_restored_database_is",),
    ),
    "a_hole_believed_at_once": Mutant(
        "A record that the client passed over is taken for a gap without being asked for again.",
        (f"{_OFFSETS}a_record_that_the_client_passed_over_is_fetched_again",),
    ),
    "an_old_end_is_believed": Mutant(
        "A topic that grew while a tracker slept is taken for one that was made anew.",
        ("tests/faults/test_simulation.py::test_a_tracker_that_slept_believes_no_old_end_of_a_log",),
    ),
    "an_unreadable_record_stops_all": Mutant(
        "A record that nobody can read keeps back the partitions that have none.",
        (f"{_GROUP}a_record_that_cannot_be_read_holds_up_its_own_partition_only",),
    ),
    "joined_anew_by_subscribing": Mutant(
        "The group is joined anew in a way that the client may not survive.",
        (f"{_GROUP}a_tracker_that_looks_for_its_coordinator_can_join_anew",),
    ),
    "aborted_records_read": Mutant(
        "Records of transactions that were aborted become events.",
        (f"{_TRACKER}transactions_leave_silent_gaps",),
    ),
    "lost_records_called_none": Mutant(
        "What retention deleted unread is recorded as if there never was a record, without an alert.",
        (f"{_TRACKER}what_retention_took_is_told",),
    ),
    "gaps_counted_and_not_written": Mutant(
        "Positions count gaps of which no row says where they were.",
        (f"{_TRACKER}what_retention_took_is_told",),
    ),
    "a_topic_made_anew_goes_unnoticed": Mutant(
        "A topic that was deleted and made again is read from the old one's position.",
        (f"{_FAULTS}a_topic_made_anew_is_read_again",),
    ),
    "faststreams_own_parser": Mutant(
        "FastStream's parser reads the headers, and a null or odd one keeps its whole batch back.",
        (f"{_TRACKER}no_header_holds_a_record_up",),
    ),
    # --- one transaction ---
    "position_after_the_commit": Mutant(
        "Positions are advanced after the transaction: a crash in between takes the batch a second time.",
        (f"{_STORE}a_batch_is_written_whole_or_not_at_all[position]",),
    ),
    "a_hole_in_the_run_is_bridged": Mutant(
        "A batch that does not continue its partition is taken, and what lies between counts as a gap.",
        (f"{_STORE}a_run_beyond_the_position_is_refused",),
    ),
    "records_below_the_position_taken_again": Mutant(
        "Records that lie below the position are not cut off.",
        (f"{_STORE}what_lies_below_the_position_is_left_out",),
    ),
    "claims_not_locked": Mutant(
        "A claim is read without being locked, and two trackers move it on from the same state.",
        (f"{_STORE}writers_of_one_claim_wait_for_each_other",),
    ),
    "identities_not_looked_up": Mutant(
        "Nobody asks the event log whether it holds an event already.",
        (f"{_STORE}a_fact_told_again_is_a_duplicate_however_it_is_written",),
    ),
    "conflict_passes_as_duplicate": Mutant(
        "Of two facts under one identity only names are compared: another amount is dropped as a duplicate.",
        (f"{_STORE}a_fact_told_otherwise_is_a_conflict",),
    ),
    "content_compared_by_bytes": Mutant(
        "The same fact, written by another client, is refused as a conflict.",
        (f"{_STORE}a_fact_told_again_is_a_duplicate_however_it_is_written",),
    ),
    "only_the_first_record_of_a_batch": Mutant(
        "Of each partition's records in a batch the first is taken, and the others count as duplicates.",
        (f"{_STORE}every_record_of_a_batch_has_its_outcome",),
    ),
    "only_the_last_event_of_a_claim": Mutant(
        "Of a claim's events in one batch only the last moves it.",
        (f"{_STORE}each_event_of_a_claim_in_one_batch_moves_it",),
    ),
    "rollups_counted_twice": Mutant(
        "A claim that moves on by a step stays in the rollups as what it was before, too.",
        (f"{_STORE}a_claim_adds_itself_to_the_rollups_once",),
    ),
    # --- what is refused, and what stops a tracker ---
    "what_cannot_be_stored_is_skipped": Mutant(
        "A record that PostgreSQL refuses is logged and passed over instead of kept as a dead letter.",
        (f"{_FAULTS}what_postgres_refuses_is_found_and_what_passes_is_waited_out",),
    ),
    "a_passing_error_condemns": Mutant(
        "A missing right or table turns records into dead letters.",
        (f"{_FAULTS}what_postgres_refuses_is_found_and_what_passes_is_waited_out",),
    ),
    "dead_letter_as_text": Mutant(
        "A dead letter keeps what could be read of its bytes.",
        (f"{_LETTERS}all_letters_are_published_again_as_they_were",),
    ),
    "marked_before_it_is_published": Mutant(
        "A dead letter counts as replayed before Kafka has it.",
        (
            f"{_LETTERS}nothing_is_marked_that_kafka_did_not_take",
            f"{_LETTERS}a_letter_that_kafka_does_not_take_stays_open",
        ),
    ),
    "answered_before_kafka_acknowledged": Mutant(
        "The HTTP intake answers that an event is published as long as Kafka says nothing against it.",
        ("tests/integration/test_intake_http.py::test_a_silent_kafka_is_waited_for_only_so_long",),
    ),
    "the_heartbeat_counts_as_progress": Mutant(
        "A tracker that stands still counts as alive as long as its heart beats.",
        (f"{_FAULTS}a_tracker_that_stands_still_ends_itself",),
    ),
    "breaker_sees_one_batch": Mutant(
        "The breaker looks at one batch alone, and small batches of garbage never open it.",
        (f"{_TRACKER}the_breaker_opens_by_share",),
    ),
    "errors_logged_with_their_detail": Mutant(
        "PostgreSQL's detail of an error, which quotes the row, goes into logs and the reasons of dead letters.",
        ("tests/integration/test_tracker_privacy.py::test_no_word_of_an_event_leaves_the_database[json]",),
    ),
    "verify_skips_positions": Mutant(
        "Verify is silent where a position counts more than there is.",
        ("tests/integration/test_verify.py::test_a_fault_is_found[a dead letter is gone]",),
    ),
    # --- the rules ---
    "step_compares_times_alone": Mutant(
        "Of events of one instant the one that arrives last has the last word.",
        (f"{_LIFECYCLE}_properties.py::test_stepping_where_it_may_is_folding",),
    ),
    "step_while_events_wait": Mutant(
        "An event is added to a claim of which others wait for it, and they wait for ever.",
        (f"{_LIFECYCLE}_properties.py::test_stepping_where_it_may_is_folding",),
    ),
    "time_runs_backwards": Mutant(
        "A claim's events are folded from the latest to the first.",
        (f"{_LIFECYCLE}.py::test_events_act_in_the_order_of_their_times",),
    ),
    "folded_in_order_of_arrival": Mutant(
        "A claim's events are folded in the order in which they were recorded.",
        (f"{_LIFECYCLE}.py::test_events_act_in_the_order_of_their_times",),
    ),
    "an_approval_without_payment_falls": Mutant(
        "An approval of which nothing is paid, since the patient owes all of it, does not count as one.",
        (f"{_LIFECYCLE}_decisions.py::test_an_approval_stands_until_all_of_it_is_taken_back",),
    ),
    "money_through_float": Mutant(
        "An amount is read as a binary fraction and cut: 1.15 is 114 cents.",
        (f"{_CODEC}money_is_exact_to_the_cent",),
    ),
    "money_cut_to_the_cent": Mutant(
        "An amount with three decimals is cut to two instead of refused.",
        (f"{_CODEC}money_is_never_rounded",),
    ),
}
