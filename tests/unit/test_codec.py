"""What hostile bytes can do to the codec: nothing, and not for long."""

import time

import pytest

from events import codec

LIMIT_S = 1.0
"""For one record of the greatest size, on a busy machine; a linear scan takes hundredths."""

HOSTILE = {
    "escaped quotes after brackets": b"[[" * 20 + b'"\\' * 100_000,
    "a string without an end": b"[" * 40 + b'"' + b'\\"' * 100_000,
    "a string that ends in a backslash": b"[" * 40 + b'"' + b'\\"' * 100_000 + b"\\",
    "quotes": b"[" * 40 + b'"' * 200_000,
    "brackets": b"[" * 200_000,
    "a long integer": b'{"a":' + b"9" * 200_000 + b"}",
    "a long exponent": b'{"a":1e' + b"9" * 200_000 + b"}",
    "many keys": b"{" + b",".join(b'"k%d":1' % number for number in range(15_000)) + b"}",
    "white space": b" " * 250_000,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_no_record_takes_long_to_refuse(name: str) -> None:
    """One record of poison holds up nobody else: the time it takes grows with its size and no faster."""
    began = time.perf_counter()
    outcome = codec.decode(codec.Record("claim-submitted", b"k", HOSTILE[name]))
    assert isinstance(outcome, codec.Refusal)
    assert time.perf_counter() - began < LIMIT_S
