"""Every fault that there is."""

from tests.faults.kafka_faults import KAFKA_FAULTS
from tests.faults.postgres_faults import POSTGRES_FAULTS
from tests.faults.process_faults import PROCESS_FAULTS

FAULTS = (*PROCESS_FAULTS, *POSTGRES_FAULTS, *KAFKA_FAULTS)
