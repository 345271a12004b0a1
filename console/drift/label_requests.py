"""Asks for labels of a random sample of a site's recent reads, for the keying queue.

They are keyed as `keyed`, never as `audit`, so the audit's estimate does not count them. Crops that
are marked for the audit are left out: people key these anyway, and blind.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Final

import numpy as np
import pandas as pd
from sqlalchemy import select
from sqlalchemy.orm import Session

from capture.archive import KEY
from capture.erasure import fingerprint
from console.drift.captured_days import CapturedDays, Crop
from console.tables import LabelRequest

NUM_ASKED: Final = 200
MOST_DAYS: Final = 7  # back from the newest read: older ones say nothing about now


@dataclass(frozen=True, slots=True)
class Sample:
    """What was drawn, and of how many."""

    crops: Sequence[Crop]
    num_eligible: int
    days: Sequence[date]

    @property
    def probability(self) -> float:
        """That a crop of these days is in the sample."""
        return len(self.crops) / self.num_eligible


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the labels of a site are, and what they say of its accepted reads."""

    num_asked: int
    num_labelled: int
    last_asked_us: int
    last_asked_by: str


def draw(
    captured: CapturedDays,
    site: str,
    days: Sequence[date],
    *,
    asked: frozenset[Crop],
    seed: int,
) -> Sample | None:
    """Draw `NUM_ASKED` of a site's recent reads, each with the same probability.

    The newest days that hold enough of them are used. None: no read is left to ask about.

    Args:
        captured: the archive.
        site: its name.
        days: newest first.
        asked: what was asked for before.
        seed: of the draw; the same seed and archive give the same sample.
    """
    labels = captured.labels()
    known = asked | set(labels[KEY].itertuples(index=False, name=None))
    eligible: list[Crop] = []
    used = []
    for day in days[:MOST_DAYS]:
        found = _eligible(captured.wide(site, day), known)
        if found:
            eligible += found
            used.append(day)
        if len(eligible) >= NUM_ASKED:
            break
    if not eligible:
        return None
    order = np.random.default_rng(seed).permutation(len(eligible))[:NUM_ASKED]
    ordered = sorted(eligible)
    return Sample([ordered[place] for place in order], len(eligible), used)


def _eligible(rows: pd.DataFrame, known: frozenset[Crop] | set[Crop]) -> list[Crop]:
    """Those with a picture that nobody keys already."""
    has_picture = rows["ink_mass"].notna() | rows["height_px"].notna()
    is_marked = rows["audit_probability"].fillna(0) > 0
    is_bulk = rows["is_bulk"].eq(True)  # noqa: FBT003 - pandas
    kept = rows[has_picture & ~is_marked & ~is_bulk][KEY]
    return [
        (str(read_id), int(index))
        for read_id, index in kept.itertuples(index=False)
        if (read_id, index) not in known
    ]


def asked_of(database: Session, site: str) -> list[LabelRequest]:
    """Every request of a site, oldest first."""
    wanted = select(LabelRequest).where(LabelRequest.site == site)
    return list(database.scalars(wanted.order_by(LabelRequest.asked_us)))


def add(database: Session, site: str, sample: Sample, *, by: str, now_us: int) -> None:
    """Put a sample into the table; the caller commits."""
    database.add_all(
        LabelRequest(
            read_id=read_id,
            crop_index=index,
            site=site,
            asked_by=by,
            asked_us=now_us,
            probability=sample.probability,
        )
        for read_id, index in sample.crops
    )


def forget_erased(database: Session, erased: frozenset[str]) -> None:
    """Delete the requests of erased reads, given by their fingerprints; the caller commits."""
    if erased:
        for one in database.scalars(select(LabelRequest)):
            if fingerprint(one.read_id) in erased:
                database.delete(one)


def progress(requests: Sequence[LabelRequest], labels: pd.DataFrame) -> Progress | None:
    """How many of the requests are labelled; None where nothing was asked for."""
    if not requests:
        return None
    known = set(labels[KEY].itertuples(index=False, name=None))
    num_labelled = sum((one.read_id, one.crop_index) in known for one in requests)
    last = requests[-1]
    return Progress(len(requests), num_labelled, last.asked_us, last.asked_by)
