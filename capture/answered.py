"""Answered crops with the images that the model saw: to read them again with another model.

Knows nothing about models.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import numpy as np
import pyarrow.dataset as ds
from numpy.typing import NDArray
from PIL import Image

from capture.archive import KEY, RECORDS, with_read_ids
from capture.erasure import erased_ids, without_erased
from capture.sampling import is_mail, open_dataset
from capture.store import Store

COLUMNS: Final = [*KEY, "request_id", "site", "time", "digit", "accepted", "image_png"]


@dataclass(frozen=True, slots=True)
class Answered:
    """One crop and its answer."""

    site: str
    time: datetime
    read_id: str
    request_id: str
    crop_index: int
    digit: int
    accepted: bool
    image: NDArray[np.uint8]  # (28, 28), what the model saw


def read_answered(
    store: Store, since: datetime, *, accepted_by: str | None = None
) -> Iterator[list[Answered]]:
    """Read the answered crops, a site's day at a time, so that memory stays bounded.

    Args:
        store: with the archive of captures.
        since: with a time zone; earlier answers are left out.
        accepted_by: leaves out what this version of the model did not accept.

    Yields:
        the crops of a site's day, one for each key; erased and blank ones are left out, and
        synthetic reads.

    Raises:
        StoreError, OSError, ValueError: the archive cannot be read.
    """
    days = sorted({key.split("/")[1] for key in store.find(f"{RECORDS}/")})
    wanted = [day for day in days if day >= f"day={since.astimezone(UTC).date().isoformat()}"]
    erased = erased_ids(store)
    chosen = (ds.field("time") >= since) & ds.field("image_png").is_valid()
    if accepted_by is not None:
        chosen &= (ds.field("model_version") == accepted_by) & ds.field("accepted")
    for day in wanted:
        keys = [key for key in store.find(f"{RECORDS}/{day}/") if is_mail(key)]
        for folder in sorted({key.rpartition("/")[0] for key in keys}):
            files = [key for key in keys if key.startswith(f"{folder}/")]
            rows = open_dataset(store, files).to_table(columns=COLUMNS, filter=chosen)
            kept = without_erased(with_read_ids(rows), erased).to_pandas()
            yield [_read(row) for row in kept.drop_duplicates(KEY).to_dict("records")]


def _read(row: dict[str, Any]) -> Answered:
    image = np.asarray(Image.open(io.BytesIO(row.pop("image_png"))))
    time = row.pop("time").to_pydatetime()
    return Answered(**row, time=time, image=image)
