"""Structured logs: one JSON object a line on stderr. No image bytes and no keys in them.

Lines of one cause are limited, so that a client which causes them cannot fill the disk.
"""

import contextlib
import json
import logging
import sys
import time
import traceback
from collections.abc import Hashable, MutableMapping
from datetime import UTC, datetime
from typing import Any, Final, TextIO, cast

import structlog

LINES_A_WINDOW: Final = 10  # of one cause
WINDOW_S: Final = 60.0
_LOGGERS_THAT_QUOTE_BODIES: Final = ("bentoml._internal.server.http_app", "uvicorn.error")


def configure_logging(level: str) -> None:
    """One JSON object a line on stderr, with time, level, event and what was bound."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            _drop_frequent,
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


def configure_library_logs() -> None:
    """Write what uvicorn, BentoML and Python's warnings report as JSON lines like ours."""
    handler = logging.StreamHandler(cast(TextIO, _LogStream(sys.stderr)))
    handler.setFormatter(_JsonFormatter())
    handler.addFilter(_is_not_frequent)
    logging.basicConfig(handlers=[handler], level=logging.WARNING)
    logging.captureWarnings(capture=True)


class LineLimiter:
    """Admits the first lines of each cause in each window, and counts the others.

    Args:
        max_lines: of one cause in one window.
        window_s: length of a window, from the first line of a cause.
    """

    def __init__(self, max_lines: int, window_s: float) -> None:
        self._max_lines = max_lines
        self._window_s = window_s
        self._windows: dict[Hashable, list[float]] = {}  # cause -> start, number of lines

    def admits(self, cause: Hashable, now: float) -> bool:
        """Count a line; whether to write it."""
        window = self._windows.setdefault(cause, [now, 0])
        if now - window[0] >= self._window_s:
            window[:] = [now, 0]
        window[1] += 1
        return window[1] <= self._max_lines

    def end_windows(self, now: float) -> list[tuple[Hashable, int]]:
        """Forget windows that are over; causes with suppressed lines, and their number."""
        windows = list(self._windows.items())  # a copy: other threads log meanwhile
        over = [cause for cause, (start, _) in windows if now - start >= self._window_s]
        counts = [(cause, int(self._windows.pop(cause)[1]) - self._max_lines) for cause in over]
        return [(cause, count) for cause, count in counts if count > 0]


_limiter: Final = LineLimiter(LINES_A_WINDOW, WINDOW_S)


def flush_suppressed(now: float) -> None:
    """Write how many lines were suppressed in the windows that are over.

    Args:
        now: of time.monotonic.
    """
    for cause, count in _limiter.end_windows(now):
        structlog.get_logger().warning(
            "log lines suppressed", cause=str(cause), count=count, seconds=WINDOW_S
        )


def _drop_frequent(
    _logger: Any, _method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """The processor of structlog: our events are constant texts, so the text is the cause."""
    if not _limiter.admits(event["event"], time.monotonic()):
        raise structlog.DropEvent
    return event


def _is_not_frequent(record: logging.LogRecord) -> bool:
    """The filter of library lines: the place in the code is the cause."""
    if record.name == "py.warnings":  # FILE:LINE: CATEGORY: TEXT
        cause = ": ".join(record.getMessage().split(": ", 2)[:2])
    else:
        cause = f"{record.name}, {record.filename}:{record.lineno}"
    return _limiter.admits(cause, time.monotonic())


def _drop_exception_message(record: logging.LogRecord) -> bool:
    """Keep an exception's type and place; its message may quote the body that caused it."""
    if record.exc_info and record.exc_info[0] is not None:
        kind, _, trace = record.exc_info
        record.exc_text = "".join([*traceback.format_tb(trace), kind.__name__])
        record.exc_info = None
    return True


class _JsonFormatter(logging.Formatter):
    """Formats a library's record as a JSON line."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "logger": record.name,
            "event": record.getMessage(),
            "level": record.levelname.lower(),
            "timestamp": datetime.fromtimestamp(record.created, UTC).isoformat(),
        }
        if record.exc_info and not record.exc_text:
            record.exc_text = self.formatException(record.exc_info)
        if record.exc_text:
            line["exception"] = record.exc_text
        return json.dumps(line)


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
