"""The log: what reaches it from us and from libraries, and that no value of an event can."""

import json
import subprocess
import sys
from typing import Any

import pytest

CANARY = "canary"
# A process of its own, since a log belongs to the whole process.
PROGRAM = """
import asyncio, logging, sys
import structlog
from services import logs
log = structlog.get_logger("services.tracker")  # before the log is set up, as modules do
logs.configure(sys.argv[1])
error = ValueError("canary")
error.sqlstate, error.constraint_name = "23514", "gap_is_not_empty"
def fail():
    raise error
try:
    fail()
except ValueError:
    log.exception("batch failed", topic="session-recorded")
    logging.getLogger("aiokafka.consumer").exception("Failed on canary")
    logging.getLogger("faststream.access.kafka").exception("ValidationError: canary")
logging.getLogger("faststream.access.kafka").error("no handler for canary")
logging.getLogger("aiokafka").warning("Heartbeat failed for group %s\\ncanary", "claimpath")
logging.getLogger("aiokafka").debug("canary")
logging.getLogger("aiokafka").info("canary")
logging.getLogger("uvicorn.access").error("GET /claims/canary")
logging.getLogger("asyncio").error("Task exception was never retrieved canary", exc_info=error)
logging.getLogger("sqlalchemy.pool").error("canary")
log.info("position", partition=3)
log.debug("unheard")
"""


def logged(form: str) -> str:
    """What the program writes to standard error; nothing may go to standard output."""
    ended = subprocess.run([sys.executable, "-c", PROGRAM, form], capture_output=True, text=True, check=True)
    assert ended.stdout == ""
    return ended.stderr


def test_a_record_of_json_is_one_line_with_its_facts() -> None:
    """Machines get one object a line: event, level, logger, time and what was bound to it."""
    records: list[dict[str, Any]] = [json.loads(line) for line in logged("auto").splitlines()]
    told = [(record["logger"], record["event"], record.get("error")) for record in records]
    failed = "ValueError 23514 gap_is_not_empty"
    assert told == [
        ("services.tracker", "batch failed", failed),
        ("aiokafka.consumer", "aiokafka.consumer reports a problem", failed),
        ("faststream.access.kafka", "faststream.access.kafka reports a problem", failed),
        ("faststream.access.kafka", "faststream.access.kafka reports a problem", None),
        ("aiokafka", "Heartbeat failed for group claimpath", None),
        ("asyncio", "asyncio reports a problem", failed),
        ("sqlalchemy.pool", "sqlalchemy.pool reports a problem", None),
        ("services.tracker", "position", None),
    ]
    assert records[-1]["partition"] == 3
    assert all(record["timestamp"].endswith("Z") and record["level"] for record in records)


@pytest.mark.parametrize("form", ["json", "text"])
def test_no_value_of_an_event_reaches_the_log(form: str) -> None:
    """Whatever an error's message, a traceback or a library's words hold, it is not in the log."""
    words = logged(form)
    assert "batch failed" in words
    assert CANARY not in words
    assert "Traceback" not in words
