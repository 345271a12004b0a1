"""Log lines of one cause are limited, and counted."""

import json
import logging
import warnings

import pytest
import structlog

from serving import logs
from serving.logs import LINES_A_WINDOW, WINDOW_S, LineLimiter


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    monkeypatch.setattr(logs, "_limiter", LineLimiter(LINES_A_WINDOW, WINDOW_S))
    yield
    structlog.reset_defaults()


@pytest.fixture
def library_logs(monkeypatch):
    """Configure the root logger as a worker does; the test must call it."""
    root = logging.getLogger()
    level = root.level

    def configure():
        monkeypatch.setattr(root, "handlers", [])  # pytest's own
        logs.configure_library_logs()

    yield configure
    logging.captureWarnings(capture=False)
    root.setLevel(level)


def lines(capsys):
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


def test_each_cause_has_its_lines_in_each_window():
    limiter = LineLimiter(2, 60.0)
    assert [limiter.admits("a", now) for now in (0, 1, 2, 59)] == [True, True, False, False]
    assert limiter.admits("b", 59)
    assert limiter.admits("a", 60)


def test_the_suppressed_lines_are_counted_when_the_window_ends():
    limiter = LineLimiter(2, 60.0)
    for _ in range(5):
        limiter.admits("a", 0)
    limiter.admits("b", 0)
    assert limiter.end_windows(59.0) == []
    assert limiter.end_windows(60.0) == [("a", 3)]
    assert limiter.end_windows(200.0) == []


def test_our_lines_of_one_event_are_limited_and_counted(capsys, monkeypatch):
    logs.configure_logging("info")
    for number in range(400):
        structlog.get_logger().warning("request refused", number=number)
    structlog.get_logger().warning("not ready")
    logs.flush_suppressed(1e12)
    events = [line["event"] for line in lines(capsys)]
    assert events == ["request refused"] * LINES_A_WINDOW + ["not ready", "log lines suppressed"]


def test_a_librarys_tracebacks_are_limited(capsys, library_logs):
    library_logs()
    for _ in range(400):
        try:
            raise RecursionError("deep")
        except RecursionError:
            logging.getLogger("uvicorn.error").exception("failed")
    found = lines(capsys)
    assert len(found) == LINES_A_WINDOW
    assert "RecursionError" in found[0]["exception"]


def test_a_python_warning_is_a_log_line(capsys, library_logs):
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        library_logs()
        for _ in range(20):
            warnings.warn("overflow", RuntimeWarning, stacklevel=1)
    found = lines(capsys)
    assert len(found) == LINES_A_WINDOW
    assert found[0]["logger"] == "py.warnings"
    assert "overflow" in found[0]["event"]
