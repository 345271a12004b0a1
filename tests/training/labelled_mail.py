"""An archive of captured and labelled mail, month by month, for the tests of snapshots."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
from made_records import make

from capture import ship
from capture.label_event import LabelEvent
from capture.labels import add_events
from capture.spool import Spool
from capture.store import Store

SITES = ("bonn-1", "koeln-1")


def read_id(month: str, number: int) -> str:
    """A version 7 id of a read on the 10th of the month."""
    millis = int(moment(month, 10).timestamp() * 1000) + number
    text = f"{millis:012x}"
    return f"{text[:8]}-{text[8:]}-7000-8000-{number:012d}"


def moment(month: str, day: int) -> datetime:
    return datetime.fromisoformat(f"{month}-{day:02}T12:00:00").replace(tzinfo=UTC)


def image_of(month: str, number: int) -> np.ndarray:
    """A picture that looks like no other."""
    seed = int(month.replace("-", "")) * 10_000 + number
    return np.random.default_rng(seed).integers(0, 256, (28, 28), dtype=np.uint8)


def capture(archive: Store, folder: Path, month: str, num: int, **changes: object) -> None:
    """Capture and ship `num` reads of one crop each; sites take turns."""
    spool = Spool(folder / f"spool-{month}-{num}")
    for number in range(num):
        known = {
            "read_id": read_id(month, number),
            "request_id": read_id(month, number),
            "time_us": int(moment(month, 10).timestamp() * 1_000_000) + number,
            "site": SITES[number % 2],
            "image": image_of(month, number),
            "accepted": False,
            "rejected_because": "low_confidence",
        }
        spool.append(make(number, **(known | changes)))
    spool.close()
    ship.ship_once(folder / f"spool-{month}-{num}", archive)


def label(
    archive: Store,
    month: str,
    numbers: list[int] | range,
    *,
    said: str | None = None,
    who: str = "ada",
    how: str = "keyed",
    when: datetime | None = None,
) -> None:
    """Label reads of a month, on its 12th unless another moment is given."""
    at = when or moment(month, 12)
    events = [
        LabelEvent(
            read_id(month, number),
            0,
            said or str(number % 10),
            who,
            int((at + timedelta(seconds=number)).timestamp() * 1_000_000),
            how,
        )
        for number in numbers
    ]
    add_events(archive, events)
