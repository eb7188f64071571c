"""Tables of the first whole path (event log, claims, rollups, positions, gaps, dead letters) and their roles."""

from alembic import op

from infra.migrations.script import execute

revision = "0001"
down_revision = None

# COLLATE "C" on claim ids: streams of events and claims are merged in this order, and it is the cheapest one to keep.
# fillfactor: a claim is updated a few times in its life and should stay on its page (HOT); rollups far more often.
TABLES = """
CREATE TABLE event (
    claim_id text COLLATE "C" NOT NULL,
    identity bytea NOT NULL,
    kind text NOT NULL,
    time timestamptz NOT NULL,
    recorded_at timestamptz NOT NULL,
    partition integer NOT NULL,
    "offset" bigint NOT NULL,
    body text NOT NULL,
    CONSTRAINT event_is_accepted_once PRIMARY KEY (claim_id, identity)
);
COMMENT ON TABLE event IS 'Every accepted event, append-only.';
COMMENT ON COLUMN event.identity IS 'blake2b-128 of source, NUL, id';
COMMENT ON COLUMN event.body IS 'The CloudEvent as received.';

CREATE TABLE claim (
    claim_id text COLLATE "C" NOT NULL,
    version integer NOT NULL,
    state text,
    payer text NOT NULL,
    open boolean NOT NULL,
    since timestamptz,
    waiting_since timestamptz,
    packed text NOT NULL,
    CONSTRAINT claim_is_one_row PRIMARY KEY (claim_id)
) WITH (fillfactor = 70);
CREATE INDEX claim_waits ON claim (waiting_since) WHERE waiting_since IS NOT NULL;
COMMENT ON COLUMN claim.since IS 'When it came into its state: the business time of the event that let it.';
COMMENT ON COLUMN claim.waiting_since IS 'When the oldest of its waiting events was recorded.';
COMMENT ON COLUMN claim.packed IS 'All that the next event needs, with the history; claim_history shows it as rows.';

CREATE TABLE rollup (
    name text NOT NULL,
    payer text NOT NULL,
    label text NOT NULL,
    day date NOT NULL,
    bucket smallint NOT NULL,
    n bigint NOT NULL,
    total bigint NOT NULL,
    CONSTRAINT rollup_is_one_row PRIMARY KEY (name, payer, label, day, bucket)
) WITH (fillfactor = 50);

CREATE TABLE position (
    cluster_id text NOT NULL,
    topic text NOT NULL,
    partition integer NOT NULL,
    generation integer NOT NULL,
    start_offset bigint NOT NULL,
    next_offset bigint NOT NULL,
    accepted bigint NOT NULL DEFAULT 0,
    duplicate bigint NOT NULL DEFAULT 0,
    dead_letter bigint NOT NULL DEFAULT 0,
    gap bigint NOT NULL DEFAULT 0,
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT position_is_one_row PRIMARY KEY (cluster_id, topic, partition, generation),
    CONSTRAINT every_record_has_one_outcome
        CHECK (accepted + duplicate + dead_letter + gap = next_offset - start_offset)
) WITH (fillfactor = 50);

CREATE TABLE gap (
    cluster_id text NOT NULL,
    topic text NOT NULL,
    partition integer NOT NULL,
    generation integer NOT NULL,
    first_offset bigint NOT NULL,
    last_offset bigint NOT NULL,
    kind text NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT gap_is_told_once PRIMARY KEY (cluster_id, topic, partition, generation, first_offset),
    CONSTRAINT gap_is_not_empty CHECK (last_offset >= first_offset),
    CONSTRAINT gap_has_a_kind CHECK (kind IN ('no_record', 'lost'))
);

CREATE TABLE dead_letter (
    dead_letter_id bigint GENERATED ALWAYS AS IDENTITY,
    cluster_id text NOT NULL,
    topic text NOT NULL,
    partition integer NOT NULL,
    generation integer NOT NULL,
    "offset" bigint NOT NULL,
    published_at timestamptz,
    key bytea,
    value bytea,
    headers text NOT NULL,
    reason text NOT NULL,
    path text NOT NULL,
    rule text NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT now(),
    replayed_at timestamptz,
    CONSTRAINT dead_letter_has_an_id PRIMARY KEY (dead_letter_id),
    CONSTRAINT dead_letter_is_kept_once UNIQUE (cluster_id, topic, partition, generation, "offset")
);
CREATE INDEX dead_letter_is_open ON dead_letter (recorded_at) WHERE replayed_at IS NULL;
COMMENT ON COLUMN dead_letter.headers IS 'JSON array of [name, base64 of the value or null].';

CREATE VIEW claim_history AS
SELECT claim_id,
       change.ordinal,
       change.entry ->> 0 AS state_before,
       change.entry ->> 1 AS state,
       to_timestamp((change.entry ->> 2)::numeric / 1000000) AS at,
       to_timestamp((change.entry ->> 3)::numeric / 1000000) AS recorded_at,
       change.entry ->> 4 AS source,
       change.entry ->> 5 AS id
FROM claim
CROSS JOIN LATERAL jsonb_array_elements(packed::jsonb -> 'history') WITH ORDINALITY AS change (entry, ordinal);
"""

# Login roles are the operator's; these carry the least that each task needs. The event log is append-only for all.
ROLES = """
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'claimpath_tracker') THEN
        CREATE ROLE claimpath_tracker NOLOGIN;
    END IF;
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'claimpath_reader') THEN
        CREATE ROLE claimpath_reader NOLOGIN;
    END IF;
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'claimpath_operator') THEN
        CREATE ROLE claimpath_operator NOLOGIN;
    END IF;
EXCEPTION
    -- Another database of the same server may be migrated at this moment: roles belong to the server.
    WHEN duplicate_object OR unique_violation THEN NULL;
END
$$;
GRANT SELECT, INSERT ON event, gap, dead_letter TO claimpath_tracker;
GRANT SELECT, INSERT, UPDATE ON claim, position TO claimpath_tracker;
GRANT SELECT, INSERT, UPDATE, DELETE ON rollup TO claimpath_tracker;
GRANT SELECT ON claim_history TO claimpath_tracker;
GRANT SELECT ON event, claim, rollup, position, gap, dead_letter, claim_history TO claimpath_reader;
GRANT SELECT, UPDATE (replayed_at) ON dead_letter TO claimpath_operator;
GRANT SELECT ON alembic_version TO claimpath_tracker, claimpath_reader, claimpath_operator;
GRANT claimpath_tracker, claimpath_reader, claimpath_operator TO CURRENT_USER;
"""


def upgrade() -> None:
    """Make the tables, the view and the roles."""
    execute(TABLES)
    execute(ROLES)


def downgrade() -> None:
    """Drop what holds no more than this revision; the roles stay, as other databases may use them."""
    op.execute("DROP VIEW claim_history")
    op.execute("DROP TABLE dead_letter, gap, position, rollup, claim, event")
