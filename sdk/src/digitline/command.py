"""The command line: `digitline read` reads files, `digitline doctor` finds out why it does not."""

import argparse
import io
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final, TextIO

import stamina

from digitline import __version__
from digitline.doctor import Doctor, print_findings
from digitline.exceptions import DigitlineError
from digitline.file_reading import FORMATS, FileReading, read_files

ALL_WELL, SOME_BAD, WRONG_USE, NO_SERVICE, INTERRUPTED = 0, 1, 2, 3, 130
_URL: Final = "DIGITLINE_URL"
_KEY: Final = "DIGITLINE_KEY"
_LOCAL: Final = "http://localhost:3000"
_EPILOG: Final = f"""\
environment:
  {_URL}  address of the service (default: {_LOCAL})
  {_KEY}  key of this site, if the service asks for one

example:
  digitline read scans/*.png --format csv > digits.csv
"""
_READ_EPILOG: Final = f"""\
exit code:
  {ALL_WELL}  every file was read (accepted or not)
  {SOME_BAD}  a file is missing, or is not a crop that can be read
  {WRONG_USE}  the command is wrong
  {NO_SERVICE}  the service did not answer, or refused the key
"""
_DOCTOR_EPILOG: Final = f"""\
exit code:
  {ALL_WELL}  nothing failed
  {SOME_BAD}  a check failed; its line says what to do
  {WRONG_USE}  the command is wrong
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    options = _parser().parse_args(arguments)
    try:
        key = _key(options.key_file)
        return _doctor(options, key) if options.command == "doctor" else _read(options, key)
    except (DigitlineError, OSError, ValueError) as error:
        if isinstance(error, BrokenPipeError):  # `digitline read ... | head`
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return SOME_BAD
        print(f"digitline: {error}", file=sys.stderr)
        return NO_SERVICE if isinstance(error, DigitlineError) else WRONG_USE
    except KeyboardInterrupt:
        return INTERRUPTED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="digitline",
        description="Reads handwritten digits with a Digitline service.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"digitline {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_read(commands)
    _add_doctor(commands)
    return parser


def _add_read(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    read = commands.add_parser(
        "read",
        help="read crops from files",
        description="Reads each file, a PNG or JPEG with one digit, and prints one line for it.",
        epilog=_READ_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    read.add_argument("files", nargs="+", type=Path, metavar="FILE", help="a PNG or JPEG file")
    _add_service(read)
    read.add_argument(
        "--format",
        choices=FORMATS,
        default="text",
        help="of the output: aligned text, one JSON object a line, or CSV (default: text)",
    )
    read.add_argument(
        "--deadline-ms",
        type=float,
        default=2000.0,
        metavar="MS",
        help="give up a file after so many milliseconds, all tries included (default: 2000)",
    )
    read.add_argument(
        "--at-once",
        type=int,
        default=8,
        metavar="N",
        help="files that are read at the same time, 1 to 64 (default: 8)",
    )
    read.add_argument(
        "--offline",
        type=Path,
        metavar="SPOOL",
        help="read on this machine what the service does not answer in time, and keep these reads "
        "in the file SPOOL for the service; needs digitline[offline]",
    )


def _add_doctor(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    doctor = commands.add_parser(
        "doctor",
        help="find out why reading fails or is slow",
        description="Checks name, connection, TLS, clock, latency, key, model and a crop whose\n"
        "answer is known. It sends no mail: the service records nothing.",
        epilog=_DOCTOR_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _add_service(doctor)
    doctor.add_argument(
        "--deadline-ms",
        type=float,
        default=150.0,
        metavar="MS",
        help="the deadline that the scanner reads with; the latency is judged by it (default: 150)",
    )
    doctor.add_argument(
        "--spool", type=Path, metavar="FILE", help="look also into a spool of offline reads"
    )


def _add_service(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--url",
        default=os.environ.get(_URL, _LOCAL),
        help=f"address of the service (default: ${_URL}, else {_LOCAL})",
    )
    parser.add_argument(
        "--key-file",
        type=Path,
        metavar="FILE",
        help=f"a file with the key and nothing else (default: the key in ${_KEY})",
    )


def _key(key_file: Path | None) -> str | None:
    if key_file is None:
        return os.environ.get(_KEY) or None
    key = key_file.read_text("ascii").strip()
    if not key or len(key.split()) != 1:
        raise ValueError(f"{key_file} must hold one key; it has {len(key.split())} words")
    return key


def _read(options: argparse.Namespace, key: str | None) -> int:
    if not 1 <= options.at_once <= 64:
        raise ValueError(f"--at-once is {options.at_once}; give 1 to 64")
    command = FileReading(
        url=options.url,
        key=key,
        deadline_ms=options.deadline_ms,
        at_once=options.at_once,
        spool=options.offline,
        form=options.format,
    )
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a name of a file may be no text
    stamina.instrumentation.set_on_retry_hooks([])  # the terminal is the progress bar's
    counts = read_files(command, options.files, out=sys.stdout, progress=_progress())
    if counts.unanswered:
        return NO_SERVICE
    return SOME_BAD if counts.bad else ALL_WELL


def _doctor(options: argparse.Namespace, key: str | None) -> int:
    doctor = Doctor(options.url, key, options.deadline_ms, options.spool)
    return ALL_WELL if print_findings(doctor.findings(), sys.stdout) else SOME_BAD


def _progress() -> TextIO | None:
    return sys.stderr if sys.stderr.isatty() else None
