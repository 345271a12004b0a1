"""Structured logs: one JSON object a line on stderr. No image bytes and no keys in them."""

import contextlib
import logging
import sys
import traceback
from typing import Final, TextIO, cast

import structlog

_LOGGERS_THAT_QUOTE_BODIES: Final = ("bentoml._internal.server.http_app", "uvicorn.error")


def configure_logging(level: str) -> None:
    """One JSON object a line on stderr, with time, level, event and what was bound."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(
            logging.getLevelNamesMapping()[level.upper()]
        ),
        logger_factory=structlog.PrintLoggerFactory(cast(TextIO, _LogStream(sys.stderr))),
        cache_logger_on_first_use=True,
    )
    for name in _LOGGERS_THAT_QUOTE_BODIES:
        logging.getLogger(name).addFilter(_drop_exception_message)


def _drop_exception_message(record: logging.LogRecord) -> bool:
    """Keep an exception's type and place; its message may quote the body that caused it."""
    if record.exc_info and record.exc_info[0] is not None:
        kind, _, trace = record.exc_info
        record.exc_text = "".join([*traceback.format_tb(trace), kind.__name__])
        record.exc_info = None
    return True


class _LogStream:
    """Drops a log line that cannot be written, so that the request still succeeds."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        with contextlib.suppress(OSError):
            self._stream.write(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError):
            self._stream.flush()
