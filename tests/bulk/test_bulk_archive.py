"""Our own archive as a source: each record once, none that is erased, and nothing written to it."""

from datetime import date

import numpy as np
import pytest
from bulk_sources import read, rows_of
from made_records import make

from capture import archive
from capture.archive import Window, parse_window
from capture.erasure import erase_from_archive, fingerprint
from capture.rows import rows_by_partition
from capture.store import open_store

DAY_S = 24 * 3600


def records_of(crops, **changes):
    return [make(number, crop=crop.pixels, **changes) for number, crop in enumerate(crops)]


def fill(store, records, name=""):
    tables, _ = rows_by_partition(records)
    for folder, table in tables.items():
        store.put(
            f"{folder}/{name}{fingerprint(table['read_id'][0].as_py())}.parquet",
            archive.encode(table),
            content_type=archive.PARQUET,
        )


@pytest.fixture
def stored(tmp_path):
    return open_store(str(tmp_path / "captures"))


@pytest.mark.parametrize("shard_rows", [1000, 40], ids=["one shard", "parts"])
def test_a_record_that_was_shipped_twice_is_read_once(
    shard_rows, crops, stored, tmp_path, tiny_champion
):
    fill(stored, records_of(crops))
    fill(stored, records_of(crops[:50]), "again-")
    report = read(stored.url, tmp_path / "out", tiny_champion, shard_rows=shard_rows)
    rows = rows_of(tmp_path / "out")
    names = {
        f"{record.read_id}/0": crop.label
        for record, crop in zip(records_of(crops), crops, strict=True)
    }
    assert {row["name"]: row["digit"] for row in rows} == names
    assert len(rows) == 200
    assert (report.inputs, report.counts.rows, report.counts.left_out) == (250, 200, 50)
    assert report.shards == (1 if shard_rows == 1000 else 7)


def test_an_erased_read_is_not_read(crops, stored, tmp_path, tiny_champion):
    records = records_of(crops[:5])
    fill(stored, records)
    erase_from_archive(stored, records[2].read_id)
    fill(stored, records[2:3], "late-")  # a shipper that was late brings it again
    read(stored.url, tmp_path / "out", tiny_champion)
    names = [row["name"] for row in rows_of(tmp_path / "out")]
    assert sorted(names) == [f"{records[place].read_id}/0" for place in (0, 1, 3, 4)]


def test_only_the_days_asked_for_are_read(crops, stored, tmp_path, tiny_champion):
    fill(stored, records_of(crops[:3]))
    noon = make(0).time_us
    fill(stored, [make(9, crop=crops[3].pixels, time_us=noon + DAY_S * 1_000_000)])
    day = parse_window("2026-11-21..2026-11-25", today=date(2026, 11, 25))
    assert isinstance(day, Window)
    read(stored.url, tmp_path / "out", tiny_champion, days=day)
    assert [row["digit"] for row in rows_of(tmp_path / "out")] == [crops[3].label]


def test_the_image_is_read_where_the_crop_is_not_kept(
    crops, images, stored, tmp_path, tiny_champion
):
    image = (images[0, 0] * 255).round().astype(np.uint8)
    records = [
        make(1, crop=None, image=image),
        make(2, crop=crops[1].pixels, image=image, crop_scale=3),  # reduced: no longer as sent
        make(3, crop=None, image=None, probs=()),
    ]
    fill(stored, records)
    read(stored.url, tmp_path / "out", tiny_champion)
    rows = sorted(rows_of(tmp_path / "out"), key=lambda row: row["name"])
    assert [row["digit"] for row in rows] == [crops[0].label, crops[0].label, None]
    assert "neither the crop nor the image is kept" in rows[2]["error"]


def test_synthetic_reads_are_skipped(crops, stored, tmp_path, tiny_champion):
    fill(stored, records_of(crops[:3]))
    fill(stored, records_of(crops[:3], site="golden-read"))
    report = read(stored.url, tmp_path / "out", tiny_champion)
    assert (report.counts.rows, report.skipped) == (3, 1)


def test_reading_in_bulk_leaves_the_archive_as_it_is(crops, stored, tmp_path, tiny_champion):
    fill(stored, records_of(crops))
    before = stored.versions("")
    read(stored.url, tmp_path / "out", tiny_champion)
    assert stored.versions("") == before
