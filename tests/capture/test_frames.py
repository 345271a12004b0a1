"""A spool under damage at every byte: whole records are read, and no other."""

from __future__ import annotations

import io
import logging
import zlib
from struct import pack

import numpy as np
import pyarrow.parquet as pq
import pytest
from made_records import make
from segment_end import measure

from capture import ship
from capture.frames import add_head, marker_of
from capture.record import CaptureRecord, decode, encode
from capture.segments import read_segment, recover, sealed_segments
from capture.spool import Spool
from capture.store import open_store

NAME = "1795697751794550-4c2c495c82284fef"
VICTIM = encode(make(66, read_id="victim", site="other-site", crop=None, image=None))
OLD_VICTIM = b"DGL1" + pack("<II", len(VICTIM), zlib.crc32(VICTIM)) + VICTIM


def crop_full_of_frames() -> np.ndarray:
    """A crop in which its sender has put frames of every kind that may be guessed."""
    guessed = [
        OLD_VICTIM,
        *(marker_of(guess) + add_head(VICTIM) for guess in ("", "a-b", f"{NAME}x")),
        bytes(12) + add_head(VICTIM),
    ]
    pixels = b"".join(guessed)
    pixels += bytes(-len(pixels) % 40)
    return np.frombuffer(pixels, np.uint8).reshape(-1, 40)


def records() -> list[CaptureRecord]:
    made = [make(n, crop=None, image=None) for n in range(3)]
    return [*made[:2], make(7, crop=crop_full_of_frames(), image=None), made[2]]


def keyed(frames):
    return [marker_of(NAME) + add_head(encode(record)) for record in frames]


def old(frames):
    payloads = [encode(record) for record in frames]
    return [b"DGL1" + pack("<II", len(one), zlib.crc32(one)) + one for one in payloads]


DAMAGE = {
    "flip": lambda data, at: data[:at] + bytes([data[at] ^ 0x40]) + data[at + 1 :],
    "zero a sector": lambda data, at: data[:at] + bytes(len(data[at : at + 64])) + data[at + 64 :],
    "truncate": lambda data, at: data[:at],
    "remove a byte": lambda data, at: data[:at] + data[at + 1 :],
    "insert a byte": lambda data, at: data[:at] + b"x" + data[at:],
    "insert a frame": lambda data, at: data[:at] + OLD_VICTIM + data[at:],
}
LENGTHS = {"flip": 1, "zero a sector": 64, "truncate": 10**9, "remove a byte": 1}


def undamaged(frames, at, length):
    """The numbers of the frames that lie outside the damage."""
    start, whole = 0, []
    for number, frame in enumerate(frames):
        end = start + len(frame)
        is_cut = start < at < end if length == 0 else start < at + length and at < end
        if not is_cut:
            whole.append(number)
        start = end
    return whole


@pytest.mark.parametrize("how", DAMAGE)
def test_damage_at_any_byte_costs_the_records_it_touches_and_no_other(tmp_path, how):
    made, frames = records(), keyed(records())
    data, path = b"".join(frames), tmp_path / f"{NAME}.done"
    for at in range(len(data)):
        path.write_bytes(DAMAGE[how](data, at))
        found = [record.read_id for record in read_segment(path)]
        whole = [made[n].read_id for n in undamaged(frames, at, LENGTHS.get(how, 0))]
        assert "victim" not in found
        assert set(whole) <= set(found), at
        assert set(found) <= {record.read_id for record in made}


@pytest.mark.parametrize("how", ["flip", "truncate", "remove a byte", "insert a byte"])
def test_no_forged_record_is_read_from_a_damaged_segment_of_version_0_1(tmp_path, how):
    made, frames = records(), old(records())
    data, path = b"".join(frames), tmp_path / f"{NAME}.seg"
    for at in range(len(data)):
        path.write_bytes(DAMAGE[how](data, at))
        found = [record.read_id for record in read_segment(path)]
        assert "victim" not in found, at
        before = [n for n in undamaged(frames, at, 1) if sum(map(len, frames[: n + 1])) <= at]
        assert found[: len(before)] == [made[n].read_id for n in before]


def test_a_flipped_pixel_of_an_old_segment_costs_its_record_alone(tmp_path):
    frames = old(records())
    data, path = b"".join(frames), tmp_path / f"{NAME}.seg"
    at = sum(map(len, frames[:3])) - 5
    path.write_bytes(DAMAGE["flip"](data, at))
    assert len(list(read_segment(path))) == 3


@pytest.mark.parametrize("at", range(0, 1_800, 331))
@pytest.mark.parametrize("how", ["flip", "truncate", "insert a frame"])
def test_the_shipper_ships_what_is_whole_and_keeps_the_rest(tmp_path, how, at):
    spool, store = tmp_path / "spool", open_store(str(tmp_path / "store"))
    spool.mkdir()
    frames = keyed(records())
    whole = undamaged(frames, at, LENGTHS.get(how, 0))
    damaged = DAMAGE[how](b"".join(frames), at)
    (spool / f"{NAME}.done").write_bytes(damaged)
    done = ship.ship_once(spool, store)
    assert done.num_records >= len(whole)
    assert done.bad_bytes == sum(path.stat().st_size for path in spool.glob("*.bad"))
    assert done.bad_bytes or len(whole) == len(frames) or sum(map(len, frames[: len(whole)])) == at
    assert sealed_segments(spool) == []


def shipped_ids(store):
    rows = [pq.read_table(io.BytesIO(store.get(key))).to_pylist() for key in store.find("records/")]
    return sorted(row["read_id"] for some in rows for row in some)


def unfit(kind: str) -> bytes:
    """A whole record that cannot become a row."""
    if kind == "time":
        return encode(make(50, time_us=2**62))
    if kind == "site":
        return encode(make(50, site="ü" * 120))
    if kind == "digit":
        return encode(make(50, digit=200))
    if kind == "version":
        return b"\x09" + encode(make(50))[1:]
    return encode(make(50, site="other-site")).replace(b"other-site", b"\xff\xfe-r-sit\xff\xed")


@pytest.mark.parametrize("kind", ["time", "site", "digit", "version", "utf8"])
def test_a_bad_record_costs_itself_alone_and_is_kept(tmp_path, caplog, kind):
    spool, store = tmp_path / "spool", open_store(str(tmp_path / "store"))
    spool.mkdir()
    marker = marker_of(NAME)
    good = [encode(make(n)) for n in range(4)]
    bad = marker + add_head(unfit(kind))
    data = b"".join(marker + add_head(one) for one in good[:2]) + bad
    data += b"".join(marker + add_head(one) for one in good[2:])
    (spool / f"{NAME}.done").write_bytes(data)
    with caplog.at_level(logging.ERROR):
        done = ship.ship_once(spool, store)
    assert (done.num_records, done.num_bad_records, done.bad_bytes) == (4, 1, len(bad))
    assert (spool / f"{NAME}.bad").read_bytes() == bad
    assert (spool / f"{NAME}.bad").stat().st_mode & 0o777 == 0o600
    assert NAME in caplog.text
    assert shipped_ids(store) == [make(n).read_id for n in range(4)]


def test_an_error_that_nobody_thought_of_costs_its_record_alone(tmp_path, monkeypatch):
    spool, store = Spool(tmp_path / "spool"), open_store(str(tmp_path / "store"))
    for n in range(4):
        spool.append(make(n))
    spool.close()
    from capture.rows import features

    measure_crop = features.crop_features

    def fail_on_one(crop):
        if np.array_equal(crop, make(2).crop):
            raise ZeroDivisionError("of a kind nobody thought of")
        return measure_crop(crop)

    monkeypatch.setattr(features, "crop_features", fail_on_one)
    done = ship.ship_once(tmp_path / "spool", store)
    assert (done.num_records, done.num_bad_records) == (3, 1)
    assert shipped_ids(store) == [make(n).read_id for n in (0, 1, 3)]


def test_a_renamed_segment_is_still_read(tmp_path):
    path = tmp_path / "moved-away.done"
    path.write_bytes(b"".join(keyed(records())))
    assert len(list(read_segment(path))) == 4


def test_a_kill_within_a_write_leaves_a_torn_tail_and_no_bad_file(tmp_path):
    data = b"".join(keyed(records()))
    (tmp_path / f"{NAME}.live").write_bytes(data[:-20])
    (sealed,) = recover(tmp_path)
    assert measure(sealed).torn_bytes == 0
    assert ship.ship_once(tmp_path, open_store(str(tmp_path / "store"))).bad_bytes == 0


def test_version_0_1_does_not_touch_the_new_segments(tmp_path):
    spool = Spool(tmp_path)
    spool.append(make(1))
    (live,) = tmp_path.glob("*.live")
    spool.close()
    (done,) = tmp_path.glob("*.done")
    # What it lists, to ship, to recover and to set aside; it deletes what it finds no record in.
    for path in (live, done):
        assert not path.match("*.open")
        assert not path.match("*.seg")


def test_a_record_of_version_3_has_its_request_id_as_read_id():
    from plain_codec import encode_plainly

    assert decode(encode_plainly(make(4), version=3)).read_id == make(4).request_id
