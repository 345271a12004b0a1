"""Runs one command in a thread, as a process of its own, and notes what comes of it.

Edge: starts processes. The process outlives a console that is killed: it writes to a file, holds
the lock, and no signal of the terminal reaches it, so a switch of champions is never cut by that.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final

from sqlalchemy.exc import OperationalError, SQLAlchemyError
from sqlalchemy.orm import Session

from console import audit_log
from console.sessions import SignedIn
from console.versions import action_rows
from console.versions.action_commands import PROMOTED_BY, TITLES, Command, Tools, shown
from console.versions.action_rows import Busy, Ended
from console.visit import Console

log = logging.getLogger(__name__)

_LOOK_EVERY_S: Final = 1.0
_STOP_WITHIN_S: Final = 30.0  # after SIGTERM
_MAX_OUTPUT_BYTES: Final = 8_000
_MAX_LINES: Final = 60


def run(console: Console, tools: Tools, number: int, command: Command, person: SignedIn) -> bool:
    """Start a command that was asked for; False where it was started before.

    Raises:
        Busy: another command runs, of this console, of another one, or of one that was killed.
    """
    with _locked(tools.lock(console.settings)) as lock:
        with console.transaction() as database, database.begin():
            action_rows.mark_unknown(database, now_us=console.now_us())
            if not action_rows.begin(database, number, now_us=console.now_us()):
                return False
            _note(console, database, command, person, {"number": number})
        worker = threading.Thread(
            target=_work,
            args=(console, tools, number, command, person, os.dup(lock)),
            name=f"action-{number}",
            daemon=True,
        )
        worker.start()
    return True


@contextmanager
def _locked(path: Path) -> Iterator[int]:
    """Hold the lock; the process inherits it, so it stays held where the console is killed.

    Raises:
        Busy: a process holds it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise Busy from error
        yield descriptor
    finally:
        os.close(descriptor)


def _work(
    console: Console, tools: Tools, number: int, command: Command, person: SignedIn, lock: int
) -> None:
    """Run the process to its end, and write that down."""
    state: Ended = "failed"
    code: int | None = None
    try:
        with tempfile.TemporaryFile() as output:
            try:
                process = _start(command.arguments, person.who, output, lock)
            except OSError as error:
                text = f"{command.arguments[0]} cannot be started: {error}"
            else:
                is_over = _wait(console, number, process, output, tools.time_limit_s)
                code = process.returncode
                state = "stopped" if not is_over else "done" if code == 0 else "failed"
                text = _tail(output)
                if not is_over:
                    text += f"\nstopped: it ran longer than {tools.time_limit_s:.0f} s"
        _conclude(console, number, command, person, state, code, text)
    finally:
        os.close(lock)


def _start(
    arguments: Sequence[str], who: str, output: IO[bytes], lock: int
) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        arguments,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        env={**os.environ, PROMOTED_BY: who, "PYTHONUNBUFFERED": "1"},
        start_new_session=True,
        pass_fds=[lock],
    )


def _wait(
    console: Console,
    number: int,
    process: subprocess.Popen[bytes],
    output: IO[bytes],
    time_limit_s: float,
) -> bool:
    """Wait for the end, and note every second that it runs; False where it was stopped."""
    give_up_s = time.monotonic() + time_limit_s
    while time.monotonic() < give_up_s:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(min(_LOOK_EVERY_S, time_limit_s))
            return True
        # A database that is busy now is not a reason to stop a promotion.
        with (
            contextlib.suppress(SQLAlchemyError),
            console.transaction() as database,
            database.begin(),
        ):
            action_rows.seen(database, number, _tail(output), now_us=console.now_us())
    process.terminate()
    try:
        process.wait(_STOP_WITHIN_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    return False


def _tail(output: IO[bytes]) -> str:
    """The last lines, without control characters.

    Read by position: the process writes to the same open file, whose position must not move.
    """
    descriptor = output.fileno()
    size = os.fstat(descriptor).st_size
    start = max(0, size - _MAX_OUTPUT_BYTES)
    text = os.pread(descriptor, size - start, start).decode("utf-8", "replace")
    lines = text.splitlines()[-_MAX_LINES:]
    return "\n".join("".join(c for c in line if c.isprintable() or c == "\t") for line in lines)


def _conclude(
    console: Console,
    number: int,
    command: Command,
    person: SignedIn,
    state: Ended,
    code: int | None,
    text: str,
) -> None:
    log.info(
        "%s %s by %s: %s, exit code %s", command.kind, command.subject, person.who, state, code
    )
    details: dict[str, object] = {"number": number, "ended": state, "exit_code": code}
    while True:  # who changed the champion must be in the log, however long another program writes
        try:
            with console.transaction() as database, database.begin():
                action_rows.end(database, number, state, code, text, now_us=console.now_us())
                _note(console, database, command, person, details)
        except OperationalError as error:
            log.warning("how command %d ended is not in the database yet: %s", number, error)
            time.sleep(_LOOK_EVERY_S)
        else:
            return


def _note(
    console: Console,
    database: Session,
    command: Command,
    person: SignedIn,
    details: dict[str, object],
) -> None:
    said = {"why": command.why, "command": shown(command.arguments, person.who)}
    audit_log.add(
        database, person, TITLES[command.kind].lower(), command.subject, said | details,
        at_us=console.now_us(),
    )  # fmt: skip
