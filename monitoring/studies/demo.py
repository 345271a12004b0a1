"""Show the whole product with a month of made-up mail: service, console, reports and archive.

Everything is made in one folder and nothing else is touched: settings of the shell (DIGITS_*,
MLFLOW_*) are not passed on. Ctrl-C stops all programs. A second run deletes the folder and makes
the same mail again.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import os
import shlex
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from monitoring.studies import demo_month
from monitoring.studies.demo_places import ROOT, Places
from monitoring.studies.demo_programs import ProgramFailed, Programs, free_port

MARKER: Final = "made-by-make-demo"  # a folder without it is never deleted
ENVIRONMENT: Final = "environment"  # for the shell of whoever runs commands on the demo's mail
SERVICE_PORT, CONSOLE_PORT, REPORTS_PORT = 3000, 8070, 8090
_READY_S: Final = 90.0
_WATCH_S: Final = 1.0
_NOT_PASSED_ON: Final = ("DIGITS_", "MLFLOW_")


class Refused(Exception):
    """Why no demo can be made; the text is for whoever started it."""


def main() -> int:
    """Make the month, start the programs, wait for Ctrl-C; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m monitoring.studies.demo", description=__doc__)
    parser.add_argument(
        "--folder", type=Path, default=ROOT / ".work" / "demo", help="deleted at start"
    )
    parser.add_argument("--days", type=int, default=28, help="of mail before today")
    parser.add_argument("--letters", type=int, default=50, help="a day, of each site")
    options = parser.parse_args()
    for name in [name for name in os.environ if name.startswith(_NOT_PASSED_ON)]:
        del os.environ[name]
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    folder = options.folder.resolve()
    try:
        with _alone(folder):
            _run(folder, num_days=options.days, letters_a_day=options.letters)
    except (Refused, ProgramFailed) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    except KeyboardInterrupt:
        print("\nstopped", flush=True)
    return 0


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keep a second demo out of a folder whose programs are running. Raises Refused."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_name(f"{folder.name}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Refused(f"a demo runs in {folder}; stop it with Ctrl-C where it runs") from None
        yield


def _run(folder: Path, *, num_days: int, letters_a_day: int) -> None:
    started_s = time.monotonic()
    _clear(folder)
    ports: dict[str, int] = {}
    for what, usual in (
        ("the service", SERVICE_PORT), ("the console", CONSOLE_PORT), ("the reports", REPORTS_PORT),
    ):  # fmt: skip
        ports[what] = free_port(usual, what=what, taken=list(ports.values()), say=_say)
    service, console, reports = ports.values()
    inside = Places(folder).environment(service_port=service, reports_port=reports)
    environment = os.environ | inside
    (folder / ENVIRONMENT).write_text(
        "".join(f"export {name}={shlex.quote(value)}\n" for name, value in inside.items())
    )
    _say(f"making {num_days} days of mail in {folder}; this takes a minute or two")
    demo_month.fill(
        environment, folder, now=datetime.now(UTC), num_days=num_days,
        letters_a_day=letters_a_day, say=_say,
    )  # fmt: skip
    programs = Programs(folder, environment)
    try:
        programs.start("service", ["-m", "serving"])
        programs.start("shipper", ["-m", "monitoring", "ship", "--follow", "--poll-s", "2"])
        programs.start("console", ["-m", "console", "--port", str(console)])
        programs.start("reports", ["-m", "monitoring", "serve", "--port", str(reports)])
        programs.wait_for("service", f"http://127.0.0.1:{service}/readyz", within_s=_READY_S)
        programs.wait_for("console", f"http://127.0.0.1:{console}/livez", within_s=_READY_S)
        programs.wait_for("reports", f"http://127.0.0.1:{reports}/", within_s=_READY_S)
        print(_guide(folder, list(ports.values()), time.monotonic() - started_s), flush=True)
        while True:
            programs.check()
            time.sleep(_WATCH_S)
    finally:
        programs.stop()


def _clear(folder: Path) -> None:
    """Delete an earlier demo and begin an empty folder. Raises Refused."""
    if folder.exists():
        if any(folder.iterdir()) and not (folder / MARKER).exists():
            raise Refused(f"{folder} is not a demo's folder and is left alone; name another one")
        _say(f"deleting the demo before in {folder}")
        shutil.rmtree(folder)
    folder.mkdir()
    (folder / MARKER).touch()


def _guide(folder: Path, ports: list[int], took_s: float) -> str:
    service, console, reports = ports
    return f"""
The demo is ready after {took_s:.0f} s. Only the model's answers are real; the rest is made up.

  console   http://127.0.0.1:{console}/       sign in with any name; no key is needed
  service   http://127.0.0.1:{service}/       draw a digit, or send crops; the API is at /docs
  reports   http://127.0.0.1:{reports}/       a drift report for each of the last days

Look first at
  Sites     dresden's scanner has been getting dirty for a week, and its reads are on hold
  Keying    today's letters wait, with some crops that the model did not accept
  Models    a candidate that the gate has refused, beside the champion and the one before

Commands on this mail, in another terminal
  export PATH=$PWD/.venv/bin:$PATH && source {folder / ENVIRONMENT}
  python -m monitoring labels

Ctrl-C stops everything; `make demo` makes it anew.
"""


def _say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
