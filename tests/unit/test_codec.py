"""What hostile bytes can do to the codec: nothing, and not for long; and that no cent is lost in it."""

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


def test_money_is_exact_to_the_cent() -> None:
    """Every amount is the cents that it says, small or as large as the contract takes them, and is printed the same."""
    for amount in (*range(100_000), *range(999_999_900_000, 1_000_000_000_000, 7)):
        whole, rest = divmod(amount, 100)
        assert codec.cents(f"{whole}.{rest:02}") == amount
        assert codec.cents(f"-{whole}.{rest:02}") == -amount
        assert codec.money(-amount) == f"{'-' if amount else ''}{whole}.{rest:02}"
    assert [codec.cents(text) for text in ("7", "7.5", "0.07", "-0.5")] == [700, 750, 7, -50]


@pytest.mark.parametrize("text", ["1.005", "1.999", "0.001", "1.", ".5", "01", "1e2", "NaN", "1,5", " 1", "+1", ""])
def test_money_is_never_rounded(text: str) -> None:
    """What is no amount to the cent is refused, and not made one."""
    with pytest.raises(ValueError, match="money is a decimal string"):
        codec.cents(text)
