"""`python -m tests.peak FILE ARGUMENT...`: runs the command claimpath and writes to a file the most memory it had."""

import resource
import sys
from pathlib import Path
from typing import Final

from services import cli

_STATUS: Final = Path("/proc/self/status")


def peak_kib() -> int:
    """Return the most memory that this process has had, in KiB."""
    if _STATUS.exists():  # what getrusage tells on Linux begins with the memory of the parent
        told = dict(line.split(":", 1) for line in _STATUS.read_text().splitlines())
        return int(told["VmHWM"].split()[0])
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most // 1024 if sys.platform == "darwin" else most


if __name__ == "__main__":
    file = Path(sys.argv.pop(1))
    try:
        cli.main()
    finally:
        file.write_text(str(peak_kib()))
