"""Captured mail that candidate and champion read as different digits, with pictures.

`python -m training replay` writes the list; the pictures are read from the archive at each visit,
so an erased read is gone at once. Edge: reads the list, the labels and the archive.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime
from pathlib import Path
from typing import Final

from capture.archive import Window
from capture.erasure import erased_ids, fingerprint
from capture.labels import read_labels
from capture.sampling import read_pictures
from capture.store import Store

LISTING: Final = "replay.csv"  # in the candidate's folder
MAX_SHOWN: Final = 24
_Key = tuple[str, int]


@dataclass(frozen=True, slots=True)
class MailCrop:
    """One crop of captured mail."""

    read_id: str
    crop_index: int
    site: str
    day: date
    champion: str  # digit
    candidate: str
    label: str  # empty until somebody keyed it
    png: bytes | None  # None: the archive no longer has the picture

    @property
    def key(self) -> _Key:
        """Names the crop."""
        return self.read_id, self.crop_index


@dataclass(frozen=True, slots=True)
class Replayed:
    """What the list says."""

    is_stale: bool  # it was made before the candidate's model
    num: int
    num_champion_right: int  # of the labelled
    num_candidate_right: int
    num_unlabelled: int
    shown: tuple[MailCrop, ...]


def find(folder: Path, model: Path, archive: Store) -> Replayed | None:
    """Read a candidate's list; None where there is none.

    Args:
        folder: of the candidate.
        model: its model file.
        archive: of captures.

    Raises:
        StoreError, OSError, ValueError: the list or the archive cannot be read.
    """
    path = folder / LISTING
    if not path.is_file():
        return None
    erased = erased_ids(archive)
    rows = [one for one in _read(path) if fingerprint(one.read_id) not in erased]
    labels = _labels(archive)
    rows = [replace(one, label=labels.get(one.key, one.label)) for one in rows]
    labelled = [one for one in rows if one.label.isdecimal()]
    # What decides comes first: labelled crops, then those that are still open.
    ordered = [*labelled, *(one for one in rows if not one.label.isdecimal())][:MAX_SHOWN]
    pictures = _pictures(archive, ordered)
    return Replayed(
        is_stale=model.exists() and path.stat().st_mtime < model.stat().st_mtime,
        num=len(rows),
        num_champion_right=sum(one.champion == one.label for one in labelled),
        num_candidate_right=sum(one.candidate == one.label for one in labelled),
        num_unlabelled=len(rows) - len(labelled),
        shown=tuple(replace(one, png=pictures.get(one.key)) for one in ordered),
    )


def _read(path: Path) -> list[MailCrop]:
    with path.open(newline="", encoding="utf-8") as file:
        try:
            return [
                MailCrop(
                    read_id=row["read_id"],
                    crop_index=int(row["crop_index"]),
                    site=row["site"],
                    day=datetime.fromisoformat(row["time"]).date(),
                    champion=row["champion"],
                    candidate=row["candidate"],
                    label=row["label"],
                    png=None,
                )
                for row in csv.DictReader(file)
            ]
        except (KeyError, TypeError) as error:
            raise ValueError(f"{path} is no list of replay: {error}") from error


def _labels(archive: Store) -> Mapping[_Key, str]:
    """What people keyed since the list was made."""
    found = read_labels(archive)
    return {
        (row["read_id"], int(row["crop_index"])): str(row["label"])
        for row in found.to_dict("records")
    }


def _pictures(archive: Store, crops: Iterable[MailCrop]) -> dict[_Key, bytes]:
    """As sent where that was kept, else as the model saw it; one pass over each day."""
    by_day: dict[date, list[_Key]] = {}
    for one in crops:
        by_day.setdefault(one.day, []).append(one.key)
    found: dict[_Key, bytes] = {}
    for day, keys in by_day.items():
        frame = read_pictures(archive, Window(day, day), keys)
        for key in keys:
            if key in frame.index:
                row = frame.loc[key]
                png = row["crop_png"] if row["crop_png"] is not None else row["image_png"]
                if png is not None:
                    found[key] = bytes(png)
    return found
