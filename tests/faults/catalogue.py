"""Every fault that there is."""

from tests.faults.cluster_faults import CLUSTER_FAULTS
from tests.faults.disk_faults import DISK_FAULTS
from tests.faults.kafka_faults import KAFKA_FAULTS
from tests.faults.postgres_faults import POSTGRES_FAULTS
from tests.faults.process_faults import PROCESS_FAULTS
from tests.faults.version_faults import VERSION_FAULTS

COMMON = (*PROCESS_FAULTS, *POSTGRES_FAULTS, *KAFKA_FAULTS)
"""Those of one stack and one release."""
EXTREME = (*VERSION_FAULTS, *CLUSTER_FAULTS, *DISK_FAULTS)
"""Those that need other servers, or another release."""
FAULTS = (*COMMON, *EXTREME)
