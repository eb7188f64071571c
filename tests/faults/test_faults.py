"""Real processes, a real Kafka and a real PostgreSQL on their worst days: nothing is lost and nothing doubled."""

from collections.abc import AsyncIterator

import pytest

from infra.devstack import Stack
from tests.faults.catalogue import COMMON
from tests.faults.fault import Fault
from tests.faults.field import Field, field_on
from tests.faults.servers import Servers

SEED = 20_261_124
LEAST = 30
"""So many faults strike in every run of the tests."""
SHORT = [fault for fault in COMMON if fault.runs == "always"]

pytestmark = [
    pytest.mark.expects_error_logs,  # of our own publisher, while Kafka is away
    pytest.mark.filterwarnings("default::ResourceWarning"),
]


@pytest.fixture(scope="module")
async def field(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Field]:
    """Two trackers on servers that may be stopped, behind proxies."""
    with Stack(quick_jit=True) as stack:
        async with field_on(Servers(stack), tmp_path_factory.mktemp("field"), SEED) as opened:
            yield opened


@pytest.mark.parametrize("fault", SHORT, ids=[fault.sentence for fault in SHORT])
async def test_nothing_is_lost_or_doubled_when(field: Field, fault: Fault) -> None:
    """The fault strikes while records come in; once it is over all is taken by itself, and the audit finds nothing."""
    endured = await field.endure(fault)
    print(f"{fault.sentence}: {endured.fired} fired, well again after {endured.recovery_s:.1f} s, seed {SEED}")
    assert endured.violations == []
    assert endured.fired > 0
    assert endured.records > 0
    assert endured.recovery_s < fault.limit_s


def test_thirty_faults_strike_in_every_run() -> None:
    """A campaign that lost its faults would find nothing."""
    assert len(SHORT) >= LEAST
