"""Claims and rollups as rows of PostgreSQL: how a claim is packed, and how both are written."""

from collections.abc import Iterable
from typing import Final, Literal, NamedTuple

import asyncpg
import msgspec

from services import pgcopy
from services.claim import Claim
from services.rollups import Rollup
from services.timing import is_open


class ClaimRow(NamedTuple):
    """A row of the table of claims; times in microseconds since 1970-01-01T00:00:00Z."""

    claim_id: str
    version: int
    state: str | None
    payer: str
    open: bool
    since_us: int | None
    waiting_since_us: int | None
    packed: bytes


_encode_claim: Final = msgspec.json.Encoder(enc_hook=int).encode
_decode_claim: Final = msgspec.json.Decoder(Claim).decode


def pack(claim: Claim) -> bytes:
    """Return the claim as the JSON that ``claim.packed`` holds."""
    return _encode_claim(claim)


def unpack(packed: str | bytes) -> Claim:
    """Return the claim that ``claim.packed`` holds."""
    return _decode_claim(packed)


def claim_row(claim_id: str, version: int, claim: Claim) -> ClaimRow:
    """Return the row that stands for the claim."""
    return ClaimRow(
        claim_id,
        version,
        claim.state,
        claim.payer,
        is_open(claim),
        claim.history[-1].at_us if claim.history else None,
        min((wait.recorded_at_us for wait in claim.waiting), default=None),
        pack(claim),
    )


async def copy_claims(
    connection: asyncpg.Connection, table: Literal["claim", "changed"], rows: Iterable[ClaimRow]
) -> None:
    """Copy rows into the table of claims, or into the temporary one of changed claims."""
    await pgcopy.copy(connection, table, map(_encoded, rows))


def _encoded(row: ClaimRow) -> bytes:
    return b"".join(
        (
            pgcopy.columns(8),
            pgcopy.text(row.claim_id),
            pgcopy.integer(row.version),
            pgcopy.text(row.state),
            pgcopy.text(row.payer),
            pgcopy.TRUE if row.open else pgcopy.FALSE,
            pgcopy.timestamptz(row.since_us),
            pgcopy.timestamptz(row.waiting_since_us),
            pgcopy.raw(row.packed),
        )
    )


def add_rollup(difference: Rollup, rows: Rollup, sign: int) -> None:
    """Add the rows to the difference, or with a sign of -1 take them off."""
    for row, (n, total) in rows.items():
        have = difference.get(row, (0, 0))
        difference[row] = (have[0] + sign * n, have[1] + sign * total)


async def write_rollup(connection: asyncpg.Connection, difference: Rollup) -> None:
    """Add the difference to the rollups."""
    if not difference:
        return
    rows = sorted((*row, *change) for row, change in difference.items())
    await connection.execute(
        """
        INSERT INTO rollup (name, payer, label, day, bucket, n, total)
        SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::date[], $5::smallint[], $6::bigint[], $7::bigint[])
        ON CONFLICT ON CONSTRAINT rollup_is_one_row
        DO UPDATE SET n = rollup.n + excluded.n, total = rollup.total + excluded.total
        """,
        *zip(*rows, strict=True),
    )
