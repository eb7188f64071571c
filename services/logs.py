"""The log on standard error: one line per record, as text or JSON, in which no value of a payload can appear."""

import logging
import sys
from typing import Any, Final, Literal

import structlog
from structlog.types import EventDict, Processor, WrappedLogger

from services.database import describe_error

# Libraries whose own words were read and name no value. Of every other only logger, level and class of error are told.
_TRUSTED: Final = ("services", "aiokafka", "alembic")
# Wire dumps below this level; and these are silent, as they would name claims (paths) or payloads.
_FOREIGN_LEVEL: Final = logging.WARNING
_SILENT: Final = ("uvicorn.access",)


def configure(form: Literal["auto", "json", "text"]) -> None:
    """Send every record of this process to standard error in this form."""
    on_terminal = sys.stderr.isatty()
    text = form == "text" or (form == "auto" and on_terminal)
    renderer: Processor = (
        structlog.dev.ConsoleRenderer(colors=on_terminal) if text else structlog.processors.JSONRenderer()
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(_is_wanted)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[_without_foreign_words, *_EVERY_RECORD],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    _install(handler, logging.INFO)


def silence() -> None:
    """Log nothing: a command that ends by itself tells what is to be told on its own."""
    _install(logging.NullHandler(), logging.CRITICAL)


def _install(handler: logging.Handler, level: int) -> None:
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *_EVERY_RECORD,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,  # module loggers are made before we are called
    )


def _is_wanted(record: logging.LogRecord) -> bool:
    ours = record.name.startswith("services")
    return ours or (record.levelno >= _FOREIGN_LEVEL and not record.name.startswith(_SILENT))


def _without_foreign_words(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Keep what a library says only where it is known to quote nothing; then its first line, as the rest is a dump."""
    record: logging.LogRecord = event["_record"]
    words = event["event"].partition("\n")[0]
    trusted = record.name.startswith(_TRUSTED) and not record.exc_info
    event["event"] = words if trusted else f"{record.name} reports a problem"
    return event


def _without_traceback(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Name an error by class and SQLSTATE: its message and the lines of its traceback may hold values."""
    given: Any = event.pop("exc_info", None)
    event.pop("stack_info", None)
    error = given[1] if isinstance(given, tuple) else sys.exc_info()[1] if given is True else given
    if isinstance(error, BaseException):
        event["error"] = describe_error(error)
    return event


_EVERY_RECORD: Final[list[Processor]] = [
    structlog.stdlib.add_log_level,
    structlog.stdlib.add_logger_name,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    _without_traceback,
]
