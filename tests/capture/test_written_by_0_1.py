"""What an older version wrote is read as it read it: segments, archive, labels and commands."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from segment_end import measure

from capture import challenger_answer, labelled
from capture.archive import KEY, Window, decode
from capture.compaction import compact, expire
from capture.erasure import erase_from_archive, erased_ids, fingerprint
from capture.labels import read_labels
from capture.parquet_schema import SCHEMA
from capture.record import CaptureRecord
from capture.sampling import read_pictures, read_sample
from capture.segments import erase_from_spool, read_segment, recover
from capture.ship import ship_once
from capture.store import Store, open_store

WRITTEN: Final = Path(__file__).parents[1] / "data" / "written_by_0_1"
EXPECTED: Final[dict[str, Any]] = json.loads((WRITTEN / "expected.json").read_text())
PICTURES: Final = ("image_png", "crop_png")
CHALLENGER: Final = tuple(asdict(challenger_answer.NO_ANSWER))
ADDED_LATER: Final = (
    "read_id",
    "crop_scale",
    "audit_probability",
    "is_bulk",
    "is_field",
    "deadline",
    *CHALLENGER,
)


def as_json(value: Any) -> Any:
    return json.loads(json.dumps(value, allow_nan=False))


@pytest.mark.parametrize("number", range(len(EXPECTED["spool"])))
def test_a_segment_is_read_alike(number):
    path = sorted((WRITTEN / "spool").iterdir())[number]
    assert as_json(segment(path)) == EXPECTED["spool"][number]


def test_the_archive_is_read_alike():
    store = open_store(str(WRITTEN / "archive"))
    assert as_json(whole_archive(store)) == EXPECTED["archive"]


def test_the_labelled_captures_are_the_same():
    store = open_store(str(WRITTEN / "archive"))
    assert as_json(labelled_captures(store)) == EXPECTED["labelled"]


def test_commands_count_the_same(tmp_path):
    erased_id = erased_request(WRITTEN / "spool", open_store(str(WRITTEN / "archive")))
    assert as_json(commands(WRITTEN, tmp_path, erased_id)) == EXPECTED["commands"]


def pixels(array: np.ndarray[Any, Any] | bytes | None) -> dict[str, Any] | None:
    """What identifies a picture: of an array its shape and bytes, of a file its bytes."""
    if array is None:
        return None
    data = array if isinstance(array, bytes) else array.tobytes()
    known: dict[str, Any] = {"sha256": hashlib.sha256(data).hexdigest()}
    return known | (
        {"file_bytes": len(data)} if isinstance(array, bytes) else {"shape": list(array.shape)}
    )


def plain_record(record: CaptureRecord) -> dict[str, Any]:
    """A record's fields without stage times; pictures by their hash, infinity as a word."""
    fields = {name: value for name, value in asdict(record).items() if not name.endswith("_ms")}
    assert fields.pop("read_id") == fields["request_id"]
    assert fields.pop("crop_scale") == 1
    assert fields.pop("audit_probability") == 0
    assert not fields.pop("is_bulk")
    assert not fields.pop("is_field")
    assert fields.pop("deadline_us") is None
    assert not any(fields.pop(name) for name in CHALLENGER)
    fields |= {"image": pixels(record.image), "crop": pixels(record.crop)}
    fields["probs"] = list(record.probs)
    if not np.isfinite(record.garbage):
        fields["garbage"] = str(record.garbage)
    return fields


def segment(path: Path) -> dict[str, Any]:
    return {
        "name": path.name,
        "measured": asdict(measure(path)),
        "records": [plain_record(record) for record in read_segment(path)],
    }


def whole_archive(store: Store) -> dict[str, Any]:
    days = sorted({date.fromisoformat(key.split("/")[1][4:]) for key in store.find("records/")})
    window = Window(days[0], days[-1])
    labels = read_labels(store)
    sample = read_sample(
        store, window, columns=columns_read(), max_rows=1000, min_rows_per_site=1, labels=labels
    )
    few = read_sample(store, window, columns=[], max_rows=8, min_rows_per_site=2)
    keys = list(sample.rows[KEY].itertuples(index=False, name=None))
    pictures = read_pictures(store, window, keys)
    return {
        "keys": store.find(""),
        "window": str(window),
        "num_stored": sample.num_stored,
        "sample_below": sample.sample_below,
        "rows": plain_rows(sample.rows),
        "labelled_keys": sample.labelled[KEY].to_numpy().tolist(),
        "few": few.rows[KEY].to_numpy().tolist(),
        "few_below": few.sample_below,
        "labels": [
            [one.read_id, one.crop_index, int(one.label)]
            for one in labels.sort_values(KEY).itertuples()
        ],
        "erased": sorted(erased_ids(store)),
        "pictures": {
            f"{request_id}/{index}": {name: png_pixels(row[name]) for name in PICTURES}
            for (request_id, index), row in pictures.sort_index().iterrows()
        },
    }


def num_alike(old: Store, new: Store, window: Window) -> int:
    """How many rows of `new`, shipped just now, are the same in `old` but for their place."""
    rows = [
        {(row["request_id"], row["crop_index"]): row for row in plain_rows(sample.rows)}
        for sample in (
            read_sample(store, window, columns=columns_read(), max_rows=1000, min_rows_per_site=1)
            for store in (old, new)
        )
    ]
    return sum(is_alike(rows[0].get(key), row) for key, row in rows[1].items())


def is_alike(old: dict[str, Any] | None, new: dict[str, Any]) -> bool:
    """The same, but for the last bits of features: they depend on the processor."""
    return old is not None and old == {
        name: pytest.approx(value, rel=1e-5, abs=1e-5) if isinstance(value, float) else value
        for name, value in new.items()
    }


def columns_read() -> list[str]:
    left_out = (*PICTURES, *ADDED_LATER)
    return [name for name in SCHEMA.names if name not in left_out and not name.endswith("_ms")]


def plain_rows(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows as JSON has them: missing is null."""
    rows = []
    for row in frame.to_dict("records"):
        row["time"] = row["time"].isoformat()
        assert row.pop("read_id") == row["request_id"]
        assert not row.pop("audit_probability") > 0
        assert row.pop("is_bulk") in (None, False)
        assert row.pop("is_field", None) in (None, False)
        assert row.pop("deadline", None) is None
        rows.append({str(name): plain(value) for name, value in row.items()})
    return rows


def plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return value.astype(float).tolist()
    if value is None or (isinstance(value, float) and np.isnan(value)):
        return None
    return value.item() if isinstance(value, np.generic) else value


def png_pixels(png: bytes | None) -> dict[str, Any] | None:
    return None if png is None else pixels(np.asarray(Image.open(io.BytesIO(png))))


def labelled_captures(store: Store) -> dict[str, Any]:
    found = labelled.read(store)
    return {
        "images": [pixels(image) for image in found.images],
        "labels": found.labels.tolist(),
        "bucket": found.bucket.tolist(),
    }


def erased_request(spool: Path, store: Store) -> str:
    """The request that was erased from the archive; the spool still has it."""
    erased = erased_ids(store)
    (found,) = {
        record.request_id
        for path in spool.iterdir()
        for record in read_segment(path)
        if fingerprint(record.request_id) in erased
    }
    return found


def without_bad_records(shipped: dict[str, int]) -> dict[str, int]:
    """The counts that version 0.1 had."""
    assert shipped.pop("num_bad_records") == 0
    assert shipped.pop("num_labels") == 0
    return shipped


def commands(folder: Path, scratch: Path, erased_id: str) -> dict[str, Any]:
    """What commands count when they are run on copies."""
    spool = scratch / "spool"
    shutil.copytree(folder / "spool", spool)
    shutil.copytree(folder / "archive", scratch / "archive")
    old, new = open_store(str(scratch / "archive")), open_store(str(scratch / "new"))
    (day,) = {date.fromisoformat(key.split("/")[1][4:]) for key in old.find("records/")}
    return {
        "recovered": [path.name for path in recover(spool)],
        "removed_from_spool": erase_from_spool(spool, "packed"),
        "shipped": without_bad_records(asdict(ship_once(spool, new))),
        "shipped_keys": new.find(""),
        "shipped_as_archived": num_alike(old, new, Window(day, day)),
        "removed_from_new": erase_from_archive(new, erased_id).num_rows,
        "removed_from_old": erase_from_archive(old, "postcode").num_rows,
        "merged": compact(old, day),
        "merged_again": compact(old, day),
        "num_rows_merged": [decode(old.get(key)).num_rows for key in old.find("records/")],
        "keys_merged": old.find("records/"),
        "expired": expire(old, keep_days=1, today=date.fromordinal(day.toordinal() + 2)),
        "keys_left": old.find(""),
    }
