"""The verdict on a snapshot as one self-contained HTML page, with crops as pictures.

Pure: results in, text out. Knows nothing about files.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np

from capture.rows import to_png
from pages.templating import render
from training.snapshots.checking import Checked
from training.snapshots.validation import name_rows

_MAX_PICTURES: Final = 24  # in each section


@dataclass(frozen=True, slots=True)
class Picture:
    """One crop as the model sees it, dark on light."""

    png: bytes
    label: int
    digit: int  # the champion's
    confidence: float
    who: str
    name: str


def write_page(checked: Checked) -> str:
    """Render the page."""
    snapshot, report = checked.snapshot, checked.report
    train = snapshot.train
    sources = [
        (one, list(_pictures(checked, _contradicted(checked, one.source.rows))))
        for one in report.quarantined
    ]
    findings = [(one, name_rows(one, _ids(checked, one.text))) for one in report.findings]
    return render(
        "validation.html",
        title=f"Data {snapshot.version}",
        checked=checked,
        report=report,
        num_kept=int(report.keep.sum()),
        num_train=len(train),
        num_test=len(snapshot.test),
        findings=findings,
        sources=sources,
        likely_wrong=list(_pictures(checked, report.likely_wrong.tolist())),
        sites=_sites(checked),
    )


def _ids(checked: Checked, text: str) -> np.ndarray:
    """The names of the part that a finding is about."""
    return checked.snapshot.test_ids if text.startswith("test,") else checked.snapshot.train_ids


def _contradicted(checked: Checked, rows: Iterable[int]) -> list[int]:
    """Rows where the champion reads another digit, the surest first."""
    labels, probs = checked.snapshot.train.labels, checked.probs
    differ = [int(row) for row in rows if probs[row].argmax() != labels[row]]
    return sorted(differ, key=lambda row: -float(probs[row].max()))


def _pictures(checked: Checked, rows: list[int]) -> Iterator[Picture]:
    train = checked.snapshot.train
    for row in rows[:_MAX_PICTURES]:
        probs = checked.probs[row]
        yield Picture(
            to_png(255 - train.images[row]),
            int(train.labels[row]),
            int(probs.argmax()),
            float(probs.max()),
            str(train.whos[row]),
            str(checked.snapshot.train_ids[row]),
        )


def _sites(checked: Checked) -> list[tuple[str, int, int, list[int]]]:
    """Of each site: crops to train on, in the test share, and by digit."""
    train, test = checked.snapshot.train, checked.snapshot.test
    names = sorted({*train.sites.tolist(), *test.sites.tolist()})
    return [
        (
            name,
            int((train.sites == name).sum()),
            int((test.sites == name).sum()),
            [int(((train.sites == name) & (train.labels == digit)).sum()) for digit in range(10)],
        )
        for name in names
    ]
