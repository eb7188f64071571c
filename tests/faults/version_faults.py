"""Faults of a change of release: trackers of an earlier commit and of now share the group, in both directions."""

import subprocess
import tarfile
from io import BytesIO
from pathlib import Path

from tests.faults.fault import AFTER_A_PROCESS_S, Fault
from tests.faults.field import Field

EARLIER = "f98388a"
"""The release that is upgraded: an old one with the schema of now; when that changes, the first commit that has it."""
EXTRACT_LIMIT_S = 30

_ROOT = Path(__file__).parents[2]
_PRODUCT = ("events", "services", "infra")


class NoHistory(Exception):
    """The earlier commit is not here, as in a shallow clone or an archive."""


def earlier_release(folder: Path) -> Path:
    """Return where the earlier release's code is, extracted once; raises NoHistory."""
    code = folder / f"release-{EARLIER}"
    if not code.exists():
        command = ["git", "-C", str(_ROOT), "archive", "--format=tar", EARLIER, *_PRODUCT]
        try:
            archive = subprocess.run(command, check=True, capture_output=True, timeout=EXTRACT_LIMIT_S).stdout
        except FileNotFoundError:
            raise NoHistory("there is no git") from None
        except subprocess.CalledProcessError as refused:
            raise NoHistory(refused.stderr.decode(errors="replace").strip()) from None
        with tarfile.open(fileobj=BytesIO(archive)) as found:
            found.extractall(code, filter="data")
    return code


async def upgrade(field: Field) -> int:
    """Let trackers of the earlier release work, and replace one after another with those of now."""
    earlier = earlier_release(field.folder)
    names = sorted(field.trackers)
    await field.stop()
    for name in names:
        field.start(name, release=earlier)
    async with field.publishing():
        await field.all_take()
        await _replace_each(field, names, None)
    return len(names)


async def roll_back(field: Field) -> int:
    """Replace one tracker after another with those of the earlier release, let these take all, and start ours again."""
    earlier = earlier_release(field.folder)
    names = sorted(field.trackers)
    async with field.publishing():
        await _replace_each(field, names, earlier)
    await field.caught_up(AFTER_A_PROCESS_S)
    await field.stop()
    for name in names:
        field.start(name)
    await field.publish()
    return len(names)


async def _replace_each(field: Field, names: list[str], release: Path | None) -> None:
    for name in names:
        await field.stop(name)
        field.start(name, release=release)
        await field.all_take()


VERSION_FAULTS = (
    Fault("trackers of an earlier release are upgraded one by one", "release", upgrade, AFTER_A_PROCESS_S),
    Fault("an upgrade is rolled back one by one", "release", roll_back, AFTER_A_PROCESS_S),
)
