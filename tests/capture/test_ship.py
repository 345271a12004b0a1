from __future__ import annotations

import io
import json
import subprocess
import sys
import threading
import time
from datetime import UTC, date, datetime, timedelta

import numpy as np
import pyarrow.parquet as pq
import pytest
from made_records import NOON
from numpy.testing import assert_array_equal
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from capture import ship
from capture.archive import Window
from capture.parquet_schema import SCHEMA
from capture.record import encode
from capture.sampling import read_sample
from capture.segments import sealed_segments
from capture.spool import Spool
from capture.store import StoreError, open_store

DAY = Window(date(2026, 11, 20), date(2026, 11, 20))


@pytest.fixture
def spool_folder(tmp_path):
    return tmp_path / "spool"


def fill(folder, records) -> None:
    spool = Spool(folder)
    for record in records:
        spool.append(record)
    spool.close()


def ids_in(store, window=DAY, **limits) -> list[str]:
    limits = {"max_rows": 100_000, "min_rows_per_site": 100_000} | limits
    return sorted(read_sample(store, window, columns=[], **limits).rows["request_id"])


def test_records_become_rows_with_their_values(spool_folder, store, make_record):
    record = make_record(3, site="Würzburg/Süd", inverted=True)
    fill(spool_folder, [record])
    done = ship.ship_once(spool_folder, store)
    assert (done.num_segments, done.num_records) == (1, 1)
    (key,) = store.find("records/")
    assert key.startswith("records/day=2026-11-20/site=W%C3%BCrzburg%2FS%C3%BCd/")
    table = pq.read_table(io.BytesIO(store.get(key)))
    assert table.schema.equals(SCHEMA)
    assert table.schema.metadata[b"digitline_schema"] == b"1"
    row = table.to_pylist()[0]
    assert row["request_id"] == record.request_id
    assert row["digit"] == 3
    assert row["inverted"]
    assert row["confidence"] == pytest.approx(record.confidence)
    assert row["time"].replace(microsecond=0) == NOON
    assert_array_equal(np.asarray(Image.open(io.BytesIO(row["crop_png"]))), record.crop)
    assert_array_equal(np.asarray(Image.open(io.BytesIO(row["image_png"]))), record.image)
    assert row["height_px"] == 40
    assert sealed_segments(spool_folder) == []


def test_a_file_as_sent_is_archived_as_its_pixels_without_its_metadata(
    spool_folder, store, make_record
):
    record = make_record(4)
    pixels = record.crop
    file, notes = io.BytesIO(), PngInfo()
    notes.add_text("Author", "A. Postmaster")
    Image.fromarray(pixels).save(file, "PNG", pnginfo=notes)
    fill(spool_folder, [make_record(4, crop=file.getvalue()), make_record(5, crop=pixels)])
    ship.ship_once(spool_folder, store)
    rows = pq.read_table(io.BytesIO(store.get(store.find("records/")[0]))).to_pylist()
    kept = {row["request_id"]: row for row in rows}
    as_file, as_pixels = kept[record.request_id], kept[make_record(5).request_id]
    assert b"Postmaster" in file.getvalue()
    assert b"Postmaster" not in as_file["crop_png"]
    assert as_file["crop_png"] == as_pixels["crop_png"]
    assert_array_equal(np.asarray(Image.open(io.BytesIO(as_file["crop_png"]))), pixels)
    for column in ("height_px", "contrast", "paper_grey"):
        assert as_file[column] == as_pixels[column], column


def test_a_file_that_cannot_be_read_stops_no_other(spool_folder, store, make_record, caplog):
    bad = make_record(4, crop=b"\x89PNG and no more")
    fill(spool_folder, [make_record(3), bad, make_record(5)])
    assert ship.ship_once(spool_folder, store).num_records == 3
    rows = pq.read_table(io.BytesIO(store.get(store.find("records/")[0]))).to_pylist()
    lost = {row["request_id"]: row for row in rows}[bad.request_id]
    assert lost["crop_png"] is None
    assert lost["contrast"] is None
    assert lost["image_png"] is not None
    assert bad.request_id in caplog.text
    assert sealed_segments(spool_folder) == []


def test_the_row_of_a_blank_crop_has_no_digit_and_no_features(spool_folder, store, make_record):
    blank = make_record(
        1, digit=None, probs=(), image=None, accepted=False, rejected_because="blank", crop=None
    )
    fill(spool_folder, [blank])
    ship.ship_once(spool_folder, store)
    (row,) = pq.read_table(io.BytesIO(store.get(store.find("records/")[0]))).to_pylist()
    for column in ("digit", "probs", "image_png", "crop_png", "ink_mass", "entropy", "contrast"):
        assert row[column] is None, column
    assert row["rejected_because"] == "blank"


def test_shipping_the_same_segment_again_writes_the_same_names(
    spool_folder, store, make_record, tmp_path
):
    fill(spool_folder, [make_record(n, site=f"s{n % 3}") for n in range(9)])
    (segment,) = sealed_segments(spool_folder)
    data = segment.read_bytes()
    ship.ship_once(spool_folder, store)
    first = store.find("records/")
    segment.write_bytes(data)
    ship.ship_once(spool_folder, store)
    assert store.find("records/") == first
    assert len(ids_in(store)) == 9


def test_a_record_shipped_in_two_segments_is_read_once(spool_folder, store, make_record):
    for _ in range(2):
        fill(spool_folder, [make_record(n) for n in range(5)])
        ship.ship_once(spool_folder, store)
    assert len(store.find("records/")) == 2
    assert len(ids_in(store)) == 5


def test_records_are_partitioned_by_their_own_day_in_utc(spool_folder, store, make_record):
    midnight = datetime(2026, 11, 20, tzinfo=UTC)
    times = [midnight - timedelta(microseconds=1), midnight]
    fill(
        spool_folder,
        [make_record(n, time_us=int(t.timestamp() * 1e6)) for n, t in enumerate(times)],
    )
    ship.ship_once(spool_folder, store)
    assert len(ids_in(store)) == 1
    assert len(ids_in(store, Window(date(2026, 11, 19), date(2026, 11, 20)))) == 2


@pytest.mark.parametrize("status", ["500 Internal Server Error", "503 Slow Down"])
def test_nothing_is_lost_while_s3_refuses(s3, spool_folder, make_record, status):
    bucket = open_store("s3://digits")
    records = [make_record(n) for n in range(20)]
    fill(spool_folder, records)
    s3.start(status)
    with pytest.raises(StoreError):
        ship.ship_once(spool_folder, bucket)
    assert len(sealed_segments(spool_folder)) == 1
    s3.stop()
    ship.ship_once(spool_folder, bucket)
    assert ids_in(bucket) == [record.request_id for record in records]


def test_follow_survives_an_outage_and_ships_the_rest_after_stop(s3, spool_folder, make_record):
    bucket = open_store("s3://digits")
    spool = Spool(spool_folder)
    spool.append(make_record(1))
    spool.flush()
    s3.start("503 Slow Down", left=4)
    stop = threading.Event()
    told: list[str] = []
    left: list[int] = []
    settings = ship.FollowSettings(poll_s=0.05, grace_s=10)
    follower = threading.Thread(
        target=lambda: left.append(
            ship.follow(spool_folder, bucket, settings, stop, emit=told.append)
        )
    )
    follower.start()
    give_up_s = time.monotonic() + 20
    while sealed_segments(spool_folder) and time.monotonic() < give_up_s:
        time.sleep(0.05)
    spool.append(make_record(2))  # the service is still draining
    stop.set()
    time.sleep(0.3)
    assert follower.is_alive()
    spool.close()
    follower.join(timeout=10)
    assert left == [0]
    assert len(ids_in(bucket)) == 2
    assert json.loads(told[0])["CaptureBacklogBytes"] > 0


def test_follow_stops_after_its_grace_time(tmp_path, spool_folder, make_record):
    (tmp_path / "file").write_text("in the way")
    fill(spool_folder, [make_record(1)])
    stop = threading.Event()
    stop.set()
    settings = ship.FollowSettings(poll_s=0.05, grace_s=0.2)
    broken = open_store(str(tmp_path / "file"))
    assert ship.follow(spool_folder, broken, settings, stop, emit=lambda _: None) == 1
    assert len(sealed_segments(spool_folder)) == 1


def test_the_sidecar_stops_after_the_service_when_all_is_shipped(
    tmp_path, spool_folder, make_record
):
    spool = Spool(spool_folder)
    spool.append(make_record(1))
    command = [sys.executable, "-m", "monitoring", "ship", "--follow", "--poll-s", "0.1"]
    folders = [f"--spool={spool_folder}", f"--store={tmp_path / 'store'}"]
    sidecar = subprocess.Popen([*command, *folders], stderr=subprocess.PIPE, text=True)
    spool.flush()
    give_up_s = time.monotonic() + 30
    while sealed_segments(spool_folder) and time.monotonic() < give_up_s:
        time.sleep(0.05)
    spool.append(make_record(2))
    sidecar.terminate()
    time.sleep(0.5)
    assert sidecar.poll() is None  # the service still holds a segment
    spool.close()
    _, errors = sidecar.communicate(timeout=20)
    assert sidecar.returncode == 0, errors
    assert len(ids_in(open_store(str(tmp_path / "store")))) == 2


def test_a_segment_of_an_unknown_version_is_set_aside_and_not_lost(
    spool_folder, store, make_record, monkeypatch
):
    monkeypatch.setattr(
        "capture.spool.encode", lambda record, **how: bytes([99]) + encode(record, **how)[1:]
    )
    fill(spool_folder, [make_record(1)])
    monkeypatch.undo()
    fill(spool_folder, [make_record(2)])
    done = ship.ship_once(spool_folder, store)
    assert done.num_records == 1
    assert done.bad_bytes > 0
    assert len(list(spool_folder.glob("*.bad"))) == 1


def test_each_crop_of_a_request_has_its_own_row(spool_folder, store, make_record):
    fill(spool_folder, [make_record(1, index=index) for index in range(4)])
    ship.ship_once(spool_folder, store)
    rows = read_sample(store, DAY, columns=["digit"], max_rows=10, min_rows_per_site=10).rows
    assert sorted(rows["crop_index"]) == [0, 1, 2, 3]
