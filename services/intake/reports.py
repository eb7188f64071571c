"""All that a file holds and that is no event, as JSON Lines: findings, refusals, remittances with their adjustments."""

import os
from pathlib import Path
from typing import Self

import msgspec

from services.intake.facts import Refused, Remark, Remittance, Unpublished
from services.intake.files import Tally


class Report:
    """Writes a report while files are read; amounts in it are cents."""

    def __init__(self, file: Path) -> None:
        self._output = file.open("wb")
        self._encoder = msgspec.json.Encoder()

    def __enter__(self) -> Self:
        """Lend it."""
        return self

    def __exit__(self, *_error: object) -> None:
        """Close the file."""
        self._output.close()

    def begins(self, file: str) -> None:
        """Say of which file the lines are that follow."""
        # A name need not be text.
        self._line({"what": "file", "file": os.fsencode(file).decode(errors="backslashreplace")})

    def write(self, item: Remark | Unpublished | Remittance | Refused) -> None:
        """Write one line."""
        self._line(item)

    def ends(self, tally: Tally) -> None:
        """Write the sums."""
        self._line({"what": "tally", **msgspec.to_builtins(tally)})

    def _line(self, content: object) -> None:
        self._output.write(self._encoder.encode(content) + b"\n")
