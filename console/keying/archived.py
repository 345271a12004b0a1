"""What the archive has for people: files of records that were not read yet, and label events.

A file is read twice: first which of its reads are asked about, then the crops of those alone.
"""

from __future__ import annotations

import io
from collections.abc import Collection, Iterator, Sequence
from datetime import date, timedelta
from functools import partial
from typing import Any, Final

import numpy as np
import pandas as pd
import pyarrow.compute as pc
import pyarrow.dataset as ds
from PIL import Image

from capture.archive import RECORDS, with_read_ids
from capture.label_event import LabelEvent
from capture.sampling import has_read_id, is_mail, open_dataset
from capture.store import Store
from console.keying.choosing import SeenCrop
from serving.api.codes import MAX_DIGITS, MIN_DIGITS, Postcodes

NUM_DAYS: Final = 31  # older mail is not keyed any more
_ASKED: Final = (~ds.field("accepted")) | (pc.coalesce(ds.field("audit_probability"), 0.0) > 0)
_BULK: Final = pc.coalesce(ds.field("is_bulk"), False)
_CODE_COLUMNS: Final = [
    "read_id", "request_id", "crop_index", "digit", "confidence", "threshold",
]  # fmt: skip
_COLUMNS: Final = [
    "read_id", "request_id", "crop_index", "site", "time", "deadline", "digit", "accepted",
    "rejected_because", "probs", "threshold", "audit_probability", "is_bulk",
    "image_png", "crop_png",
]  # fmt: skip


def record_files(store: Store, today: date, num_days: int) -> list[str]:
    """The files of mail of the last days, newest first."""
    days = [today - timedelta(back) for back in range(num_days)]
    return [
        key for day in days for key in reversed(store.find(f"{RECORDS}/day={day}/")) if is_mail(key)
    ]


def asked_reads(store: Store, key: str, directory: Postcodes | None) -> list[str]:
    """The reads of a file that people may be asked about.

    Those of which the machine rejected a crop or one is marked, and the codes of accepted digits
    that `choose_letter` must decide on.
    """
    dataset = open_dataset(store, [key])
    asked = dataset.to_table(columns=["read_id", "request_id"], filter=_ASKED)
    rest = dataset.to_table(columns=_CODE_COLUMNS, filter=~_ASKED & ~_BULK)
    found = set(with_read_ids(asked)["read_id"].to_pylist())
    found.update(_doubtful_codes(with_read_ids(rest).to_pandas(), directory))
    return sorted(found)


def _doubtful_codes(crops: pd.DataFrame, directory: Postcodes | None) -> list[str]:
    """Reads of several accepted digits that are not clearly an accepted code.

    The most probable code is accepted if it is valid and the product of its digits' probabilities
    reaches the threshold: invalid codes only raise its share.
    """
    crops = crops.drop_duplicates(["read_id", "crop_index"])
    num = crops.groupby("read_id")["crop_index"].transform("size")
    crops = crops[num.between(MIN_DIGITS, MAX_DIGITS)].assign(
        value=crops["digit"] * 10 ** (num - 1 - crops["crop_index"]).clip(0, MAX_DIGITS)
    )
    codes = crops.groupby("read_id").agg(
        num=("crop_index", "size"), number=("value", "sum"), confidence=("confidence", "prod"),
        threshold=("threshold", "first"),
    )  # fmt: skip
    is_doubtful = codes["confidence"] < codes["threshold"]
    if directory is not None:
        for length, some in codes.groupby("num"):
            numbers = some["number"].to_numpy(np.int64)
            is_doubtful.loc[some.index] |= ~directory.possible(numbers, 0, int(str(length)))
    return list(codes.index[is_doubtful])


def crops_of(store: Store, key: str, read_ids: Collection[str]) -> Iterator[SeenCrop]:
    """All crops that a file has of some reads."""
    table = open_dataset(store, [key]).to_table(
        columns=_COLUMNS, filter=has_read_id(sorted(read_ids))
    )
    for row in with_read_ids(table).to_pylist():
        yield SeenCrop(
            read_id=row["read_id"],
            crop_index=row["crop_index"],
            site=row["site"],
            time_us=_to_us(row["time"]),
            deadline_us=None if row["deadline"] is None else _to_us(row["deadline"]),
            digit=row["digit"],
            is_accepted=row["accepted"],
            is_marked=(row["audit_probability"] or 0) > 0,
            is_bulk=bool(row["is_bulk"]),
            rejected_because=row["rejected_because"],
            probs=None if row["probs"] is None else tuple(row["probs"]),
            threshold=row["threshold"],
            picture=partial(_picture, row),
        )


def _to_us(time: pd.Timestamp) -> int:
    return int(pd.Timestamp(time).value // 1000)


def _picture(row: dict[str, Any]) -> tuple[bytes, int, int] | None:
    """The crop; where it was not kept, the image that the model saw, in dark ink."""
    png: bytes | None = row["crop_png"]
    if png is None and row["image_png"] is not None:
        with Image.open(io.BytesIO(row["image_png"])) as image:
            negative = Image.eval(image.convert("L"), lambda grey: 255 - grey)
        file = io.BytesIO()
        negative.save(file, "PNG")
        png = file.getvalue()
    if png is None:
        return None
    with Image.open(io.BytesIO(png)) as image:
        return png, image.width, image.height


def events_of(frame: pd.DataFrame, read_ids: Collection[str]) -> Sequence[LabelEvent]:
    """The events of some reads, from rows as the archive has them."""
    chosen = frame[frame["read_id"].isin(read_ids)]
    return [
        LabelEvent(
            str(row.read_id), int(row.crop_index), str(row.label), str(row.who),
            _to_us(row.when), str(row.how), str(row.source),
        )
        for row in chosen.itertuples()
    ]  # fmt: skip
