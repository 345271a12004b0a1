"""What the shipper tells the service of crops: in the spool, in the archive, or nowhere."""

import os
import socket
import threading
import time
from datetime import UTC, datetime

import pytest

from capture import read_check, segments, ship
from capture.archive import PARQUET, encode
from capture.compaction import compact
from capture.erasure import erase_from_archive
from capture.look_up import find_crops
from capture.read_answers import answering
from capture.read_check import SOCKET, check_reads, connect
from capture.rows import rows_by_partition
from capture.spool import Spool
from capture.store import open_store

ABSENT = "01934657-b26a-7f00-8000-000000000001"


def read_id(number, at_s=None):
    bits = f"{int((time.time() if at_s is None else at_s) * 1000):012x}"
    return f"{bits[:8]}-{bits[8:]}-7000-8000-{number:012d}"


@pytest.fixture(autouse=True)
def patience(monkeypatch):
    """A test waits for what it judges; only one judges the second."""
    monkeypatch.setattr(read_check, "_TIMEOUT_S", 30.0)


@pytest.fixture
def spool(tmp_path):
    return tmp_path / ("a-folder-with-a-name-too-long-for-the-path-of-a-socket" * 2) / "spool"


@pytest.fixture
def capture(spool, make_record):
    """Capture one crop and leave it in a finished segment."""

    def write(number, **changes):
        known = {"read_id": read_id(number), "time_us": int(time.time() * 1e6)} | changes
        writer = Spool(spool)
        writer.append(make_record(number, **known))
        writer.close()
        return known["read_id"]

    return write


def test_a_crop_in_the_spool_is_known(spool, store, capture):
    keys = [(capture(1), 0), (ABSENT, 0)]
    with answering(spool, store):
        assert check_reads(spool, keys) == ["known", "no_read"]


def test_segments_of_another_time_are_not_read(spool, store, capture, monkeypatch):
    known, opened = capture(1), []
    reading = segments.read_bytes
    monkeypatch.setattr(segments, "read_bytes", lambda path: opened.append(path) or reading(path))
    with answering(spool, store):
        assert check_reads(spool, [(ABSENT, 0)]) == ["no_read"]
        assert opened == []
        assert check_reads(spool, [(known, 0)]) == ["known"]
        assert len(opened) == 1


def test_a_shipped_crop_is_known_also_when_merged(spool, store, capture):
    keys = [(capture(1), 0), (capture(2), 0), (ABSENT, 0)]
    ship.ship_once(spool, store)
    with answering(spool, store):
        assert check_reads(spool, keys) == ["known", "known", "no_read"]
        compact(store, datetime.fromtimestamp(time.time(), UTC).date())
        assert check_reads(spool, keys) == ["known", "known", "no_read"]


@pytest.mark.parametrize("name", ["{:016d}-00ff", "merged-00ff"])
def test_a_crop_answered_after_midnight_is_found(store, make_record, name):
    midnight_us = int(time.time() // 86_400 * 86_400 * 1e6)
    known = read_id(1, midnight_us / 1e6 - 1)
    record = make_record(1, read_id=known, time_us=midnight_us)
    (folder, table), *_ = rows_by_partition([record])[0].items()
    key = f"{folder}/{name.format(midnight_us - 15_000_000)}.parquet"
    store.put(key, encode(table), content_type=PARQUET)
    assert find_crops(store, [known]) == [(known, 0)]


def test_only_files_of_the_time_of_the_read_are_opened(store):
    """The others are no Parquet, so opening one would fail."""
    day = datetime.fromtimestamp(time.time(), UTC).date()
    for begun_s in (time.time() - 3600, time.time() + 3600):
        key = f"records/day={day}/site=x/{int(begun_s * 1e6):016d}-00ff.parquet"
        store.put(key, b"none", content_type=PARQUET)
    assert find_crops(store, [read_id(1)]) == []


def test_a_crop_that_its_read_has_not_is_no_crop(spool, store, capture):
    known = capture(1, index=1)
    with answering(spool, store):
        assert check_reads(spool, [(known, 1), (known, 0)]) == ["known", "no_crop"]


def test_an_erased_read_is_not_known(spool, store, capture):
    erased = capture(1)
    ship.ship_once(spool, store)
    erase_from_archive(store, erased)
    with answering(spool, store):
        assert check_reads(spool, [(erased, 0)]) == ["no_read"]


def test_without_a_shipper_nothing_is_checked(spool, store, capture):
    key = (capture(1), 0)
    with answering(spool, store):
        pass
    assert check_reads(spool, [key]) == ["unchecked"]


def test_where_the_archive_fails_only_the_spool_is_checked(spool, s3, capture):
    keys = [(capture(1), 0), (capture(2, index=1), 0), (ABSENT, 0)]
    s3.start("403 Forbidden")
    with answering(spool, open_store("s3://digits/some/prefix")):
        assert check_reads(spool, keys) == ["known", "unchecked", "unchecked"]


def test_a_silent_shipper_costs_a_second(spool, capture, monkeypatch):
    monkeypatch.undo()
    key = (capture(1), 0)
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(f"/proc/self/fd/{os.open(spool, os.O_RDONLY)}/{SOCKET}")
        silent.listen()
        waits_s = note_waits(monkeypatch)
        assert check_reads(spool, [key]) == ["unchecked"]
    assert 0.0 < max(waits_s) <= 1.0


def note_waits(monkeypatch):
    """The seconds that sockets are told to wait, from now on; not how long a busy machine takes."""
    waits_s, set_timeout = [], socket.socket.settimeout

    def noted(connection, seconds):
        waits_s.append(seconds)
        set_timeout(connection, seconds)

    monkeypatch.setattr(socket.socket, "settimeout", noted)
    return waits_s


def test_a_wrong_question_stops_no_other(spool, store, capture):
    key = (capture(1), 0)
    with answering(spool, store):
        for question in (b"{}\n", b"7\n", b"[[1]]\n", b"\xff\n", b""):
            with socket.socket(socket.AF_UNIX) as other:
                connect(other, spool)
                other.sendall(question)
        assert check_reads(spool, [key]) == ["known"]


def test_a_shipper_takes_over_the_socket_of_one_that_was_killed(spool, store, capture):
    key = (capture(1), 0)
    (spool / SOCKET).touch()
    with answering(spool, store):
        assert check_reads(spool, [key]) == ["known"]


def test_the_shipper_answers_while_it_follows(spool, store, capture):
    key = (capture(1), 0)
    stop = threading.Event()
    arguments = (spool, store, ship.FollowSettings(poll_s=0.1, grace_s=1), stop)
    thread = threading.Thread(target=ship.follow, args=arguments, kwargs={"emit": lambda _: None})
    thread.start()
    try:
        give_up_s = time.monotonic() + 20
        while check_reads(spool, [key]) != ["known"]:
            assert time.monotonic() < give_up_s
            time.sleep(0.02)
    finally:
        stop.set()
        thread.join()
