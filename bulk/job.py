"""What a job is: its options, and the record of it in the output that a resume must match.

Edge: reads and writes `_job.json`, locks a local output folder.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from bulk.inputs import Source, SourceError, Survey
from bulk.parts import index_of
from capture.store import KeyTaken, MissingKey, Store
from model.artifact import Artifact

RECORD: Final = "_job.json"
REPORT: Final = "_report.json"
SKIPPED: Final = "_skipped.csv"
_LOCK: Final = ".job-lock"
_SCHEMA: Final = 1


class JobRefused(ValueError):
    """The output belongs to another job, or cannot be this one's. Its message says what to do."""


@dataclass(frozen=True, slots=True)
class JobOptions:
    """What decides the answers and their places."""

    source: str
    shard_rows: int
    days: str | None  # of an archive
    crop_column: str | None  # of Parquet
    name_column: str | None
    keep_input: bool
    error_target: float | None


def describe(
    options: JobOptions, source: Source, surveyed: Survey, artifact: Artifact
) -> dict[str, Any]:
    """The record of a job: equal records have equal parts."""
    policy = asdict(artifact.policy(options.error_target))
    return {
        "schema": _SCHEMA,
        "kind": source.kind,
        "options": asdict(options),
        "inputs": surveyed.num_inputs,
        "shards": surveyed.num_shards,
        "source fingerprint": surveyed.fingerprint,
        "model version": artifact.version,
        "model sha256": artifact.sha256,
        "policy": {name: str(value) for name, value in policy.items()},
    }


def claim(store: Store, record: dict[str, Any]) -> set[int]:
    """Make the output this job's, or find it so.

    Returns:
        The shards whose parts are there.

    Raises:
        JobRefused: it is another job's, or holds something else.
        StoreError: it cannot be read or written.
    """
    there = store.find("")
    known = _known(store)
    if known is None:
        others = [key for key in there if key.rpartition("/")[2] != _LOCK]
        if others:
            raise JobRefused(
                f"{store.url} has other files, such as {others[0]}; give an empty folder"
            )
        with contextlib.suppress(KeyTaken):  # another run began just now
            content = json.dumps(record, indent=1).encode()
            store.put_new(RECORD, content, content_type="application/json")
        known = _known(store)
    if known != record:
        raise JobRefused(
            f"{store.url} is the output of another job: {differences(known or {}, record)}. "
            "Give an empty folder, or the same source, options and model as before"
        )
    return {index for index in map(index_of, there) if index is not None}


def _known(store: Store) -> dict[str, Any] | None:
    try:
        return dict(json.loads(store.get(RECORD)))
    except MissingKey:
        return None


def differences(before: dict[str, Any], now: dict[str, Any]) -> str:
    """What two records differ in, as text."""
    lines = []
    for name in sorted(before.keys() | now.keys()):
        old, new = before.get(name), now.get(name)
        if isinstance(old, dict) and isinstance(new, dict):
            if old != new:
                lines.append(differences(old, new))
        elif old != new:
            lines.append(f"{name} was {old}, is {new}")
    return "; ".join(lines)


def check_apart(source: str, out: str) -> None:
    """Refuse an output inside of the source: its parts would be inputs of the next run.

    Raises:
        SourceError: it is.
    """
    paths = [one if one.startswith("s3://") else str(Path(one).resolve()) for one in (source, out)]
    if f"{paths[1].rstrip('/')}/".startswith(f"{paths[0].rstrip('/')}/"):
        raise SourceError(f"the output {out} is inside of the source {source}; give another folder")


@contextlib.contextmanager
def locked(out: str) -> Iterator[None]:
    """Hold a local output folder, and remove what a killed run was writing. S3 has no lock.

    A folder in which nothing was written is left as it was found.

    Raises:
        JobRefused: another run holds it.
    """
    if out.startswith("s3://"):
        yield
        return
    folder = Path(out.removeprefix("file://"))
    if folder.exists() and not folder.is_dir():
        raise JobRefused(f"{out} is a file; give an empty folder")
    is_new = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    lock = folder / _LOCK
    with lock.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise JobRefused(f"another run writes to {out}; wait until it ends") from error
        for rest in folder.glob(".part-*"):
            rest.unlink(missing_ok=True)
        try:
            yield
        finally:
            if list(folder.iterdir()) == [lock]:
                lock.unlink()
                if is_new:
                    folder.rmdir()
