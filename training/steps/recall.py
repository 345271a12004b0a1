"""Command `recall`: what a model accepted since a time and the champion reads otherwise.

After a rollback these are the letters to look for. Edge: reads the archive, writes a CSV file.
"""

from __future__ import annotations

import csv
import logging
from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np

from capture.answered import Answered, read_answered
from capture.store import Store
from model import artifact
from model.classifier import Classifier
from model.decision import Policy, decide
from training import promotion_log
from training.step_error import StepError

logger = logging.getLogger(__name__)

BATCH = 512
REJECTED = "rejected"
COLUMNS = ("site", "time", "read_id", "request_id", "crop_index")


@dataclass(frozen=True, slots=True)
class Recalled:
    """What the champion says to the reads of another model."""

    version: str
    num_read: int
    changed: tuple[tuple[Answered, str], ...]  # by site and time; the new answer

    def __str__(self) -> str:
        """A Markdown table by site and hour."""
        hours = Counter(
            (read.site, read.time.strftime("%Y-%m-%d %H:00")) for read, _ in self.changed
        )
        lines = ["| site | hour (UTC) | reads that change |", "| --- | --- | --- |"]
        lines += [f"| {site} | {hour} | {num} |" for (site, hour), num in sorted(hours.items())]
        return "\n".join(lines)


def run(
    champion: Path, store: Store, *, since: datetime, version: str | None, listing: Path
) -> Recalled:
    """Read again what a model accepted, and list what the champion would not have answered.

    Args:
        champion: the folder of the served model.
        store: with the archive of captures.
        since: with a time zone.
        version: the model whose reads are doubted; None for the one before the last rollback.
        listing: CSV file to write.

    Raises:
        StepError: no version is named and none was rolled back, or the archive cannot be read.
    """
    served = artifact.load(champion)
    doubted = version or _rolled_back(champion, served.version)
    classifier, policy = Classifier(served.onnx_bytes), served.policy()
    num_read = 0
    changed: list[tuple[Answered, str]] = []
    try:
        for part in read_answered(store, since, accepted_by=doubted):
            num_read += len(part)
            for start in range(0, len(part), BATCH):
                changed += _changed(part[start : start + BATCH], classifier, policy)
    except (OSError, ValueError) as error:  # a StoreError is an OSError; Arrow's are either
        raise StepError(f"cannot read the archive: {error}") from error
    changed.sort(key=lambda one: (one[0].site, one[0].time))
    with listing.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow((*COLUMNS, "digit", "now"))
        for read, answer in changed:
            writer.writerow((*(getattr(read, name) for name in COLUMNS), read.digit, answer))
    logger.info(
        "version %s accepted %d reads since %s; version %s answers %d of them otherwise: %s",
        doubted,
        num_read,
        since.isoformat(),
        served.version,
        len(changed),
        listing,
    )
    return Recalled(doubted, num_read, tuple(changed))


def _changed(
    reads: list[Answered], classifier: Classifier, policy: Policy
) -> list[tuple[Answered, str]]:
    """The reads that are answered otherwise now, and the new answers."""
    images = np.stack([read.image for read in reads])[:, None].astype(np.float32)
    scores = classifier(images / np.float32(255))
    answers = [str(one.digit) if one.accepted else REJECTED for one in decide(scores, policy)]
    return [
        (read, answer)
        for read, answer in zip(reads, answers, strict=True)
        if answer != str(read.digit)
    ]


def _rolled_back(champion: Path, served: str) -> str:
    last = promotion_log.read(champion)[-1:]
    if last and last[0].from_version is not None and last[0].to_version == served:
        return last[0].from_version
    raise StepError("the log has no champion before this one; name the model with --version")
