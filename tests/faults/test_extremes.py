"""A cluster that loses a broker, a PostgreSQL whose disk is full, a change of release: nothing is lost or doubled."""

from collections.abc import AsyncIterator, Iterator

import pytest

from infra.devstack import Stack
from tests.faults.catalogue import EXTREME
from tests.faults.fault import Fault
from tests.faults.field import Field, field_on
from tests.faults.servers import servers_for
from tests.faults.small_disk import MayNotMount
from tests.faults.version_faults import NoHistory

SEED = 20_261_125
SHORT = [fault for fault in EXTREME if fault.runs == "always"]

pytestmark = [
    pytest.mark.expects_error_logs,  # of our own publisher, while a broker is away
    pytest.mark.filterwarnings("default::ResourceWarning"),
]


@pytest.fixture(scope="module")
def own_stack() -> Iterator[Stack]:
    """Servers of which only these tests know, and so all that these say is of these tests."""
    with Stack(quick_jit=True) as running:
        yield running


@pytest.fixture(scope="module")
async def field(
    own_stack: Stack, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Field]:
    """Two trackers on the servers that the fault needs."""
    try:
        with servers_for(request.param, own_stack) as servers:
            async with field_on(servers, tmp_path_factory.mktemp("field"), SEED) as opened:
                yield opened
    except MayNotMount as reason:
        pytest.skip(f"no small disk can be mounted here: {reason}")


@pytest.mark.parametrize(
    ("field", "fault"),
    [(fault.ground, fault) for fault in SHORT],
    ids=[fault.sentence for fault in SHORT],
    indirect=["field"],
    scope="module",  # or else each test would open a field anew
)
async def test_nothing_is_lost_or_doubled_when(field: Field, fault: Fault) -> None:
    """The fault strikes while records come in; once it is over all is taken by itself, and the audit finds nothing."""
    try:
        endured = await field.endure(fault)
    except NoHistory as reason:
        pytest.skip(f"no earlier release can be had here: {reason}")
    print(f"{fault.sentence}: {endured.fired} fired, well again after {endured.recovery_s:.1f} s, seed {SEED}")
    assert endured.violations == []
    assert endured.fired > 0
    assert endured.records > 0
    assert endured.recovery_s < fault.limit_s
