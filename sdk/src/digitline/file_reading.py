"""Files -> lines of output: what `digitline read` does."""

import csv
import errno
import json
import stat
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, TextIO

from digitline.answers import Reading
from digitline.exceptions import DigitlineError, KeyRefused, Refused
from digitline.sync_client import Digitline

FORMATS: Final = ("text", "json", "csv")
COLUMNS: Final = (
    "file", "digit", "confidence", "accepted", "rejected_because", "source", "read_id",
    "model_version", "error",
)  # fmt: skip
_BAR_CHARS: Final = 30
MOST_FILE_BYTES: Final = 8_000_000  # of one request, as the service is shipped


@dataclass(frozen=True, slots=True)
class FileReading:
    """How files are read."""

    url: str
    key: str | None
    deadline_ms: float
    at_once: int
    spool: Path | None  # None: what the service does not answer is not read
    form: str  # one of FORMATS


@dataclass(slots=True)
class Counts:
    """What became of the files so far."""

    read: int = 0
    not_accepted: int = 0  # of those read
    bad: int = 0  # missing, or no crop that can be read
    unanswered: int = 0  # the service's fault, or the network's

    @property
    def done(self) -> int:
        """All of them."""
        return self.read + self.bad + self.unanswered


def read_files(
    command: FileReading, files: Sequence[Path], *, out: TextIO, progress: TextIO | None
) -> Counts:
    """Read files and write a line for each, in their order.

    Args:
        command: how.
        files: PNG or JPEG.
        out: for the lines.
        progress: for the progress bar; None: without.

    Raises:
        KeyRefused: no file will be read with this key.
        OfflineUnavailable: `spool` is given and this installation cannot read by itself.
    """
    counts = Counts()
    write = _writer(command.form, out)
    with ExitStack() as stack:
        client = _client(command, stack)
        pool = stack.enter_context(ThreadPoolExecutor(command.at_once))
        stack.callback(pool.shutdown, cancel_futures=True)
        outcomes = pool.map(partial(_read, client), files)
        for file, outcome in zip(files, outcomes, strict=True):
            if isinstance(outcome, KeyRefused):
                raise outcome
            _count(counts, outcome)
            if progress is not None:
                print("\r\x1b[K", end="", file=progress, flush=True)
            write(row_of(file, outcome))
            if progress is not None:
                out.flush()
                print(bar(counts, len(files)), end="", file=progress, flush=True)
    if progress is not None:
        print(file=progress)
    return counts


def bar(counts: Counts, num_files: int) -> str:
    """The progress in one line."""
    filled = _BAR_CHARS * counts.done // num_files
    text = f"[{'#' * filled}{'.' * (_BAR_CHARS - filled)}] {counts.done} of {num_files}"
    if counts.not_accepted:
        text += f", {counts.not_accepted} not accepted"
    if failed := counts.bad + counts.unanswered:
        text += f", {failed} not read"
    return text


def row_of(file: Path, outcome: Reading | Exception) -> dict[str, object]:
    """The line of one file, with the names of COLUMNS; what does not apply is None."""
    row: dict[str, object] = dict.fromkeys(COLUMNS)
    row["file"] = str(file)
    if isinstance(outcome, Reading):
        for name in COLUMNS[1:-1]:
            row[name] = getattr(outcome, name)
    else:
        row["error"] = getattr(outcome, "strerror", None) or str(outcome)
    return row


def _client(command: FileReading, stack: ExitStack) -> Digitline:
    fallback = None
    if command.spool is not None:
        from digitline.offline import Offline

        fallback = stack.enter_context(Offline(command.url, command.key, spool=command.spool)).read
    return stack.enter_context(
        Digitline(command.url, command.key, deadline_ms=command.deadline_ms, fallback=fallback)
    )


def _read(client: Digitline, file: Path) -> Reading | Exception:
    try:
        return client.read(_content(file))
    except (DigitlineError, OSError) as error:
        return error


def _content(file: Path) -> bytes:
    """The bytes of a file that may be a crop.

    Raises:
        OSError: it cannot be read, or is no file of a crop's size.
    """
    facts = file.stat()
    if not stat.S_ISREG(facts.st_mode):
        raise OSError(errno.EINVAL, "is no file; give PNG or JPEG files")
    if facts.st_size > MOST_FILE_BYTES:
        raise OSError(
            errno.EFBIG, f"has {facts.st_size:,} bytes; a crop has at most {MOST_FILE_BYTES:,}"
        )
    return file.read_bytes()


def _count(counts: Counts, outcome: Reading | Exception) -> None:
    if isinstance(outcome, Reading):
        counts.read += 1
        counts.not_accepted += not outcome.accepted
    elif isinstance(outcome, Refused | OSError):
        counts.bad += 1
    else:
        counts.unanswered += 1


def _writer(form: str, out: TextIO) -> Callable[[dict[str, object]], None]:
    if form == "json":
        return lambda row: print(json.dumps(row), file=out)
    if form == "csv":
        table = csv.DictWriter(out, COLUMNS, lineterminator="\n")
        table.writeheader()
        return table.writerow
    return lambda row: print(_text(row), file=out)


def _text(row: dict[str, object]) -> str:
    line = "  ".join(_cells(row))
    return "".join(
        one if one.isprintable() else "\ufffd" for one in line
    )  # a name may steer a terminal


def _cells(row: dict[str, object]) -> Iterator[str]:
    yield f"{row['file']!s:<32}"
    if row["error"] is not None:
        yield f"not read: {row['error']}"
        return
    yield "-" if row["digit"] is None else str(row["digit"])
    yield f"{row['confidence']:.4f}"
    yield "accepted" if row["accepted"] else f"for a person: {row['rejected_because']}"
    if row["source"] != "service":
        yield "read on this machine"
