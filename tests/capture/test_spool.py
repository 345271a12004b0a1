from __future__ import annotations

import fcntl
import os
import resource
import signal
import subprocess
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from segment_end import measure

from capture.segments import live_segments, read_segment, recover, sealed_segments
from capture.spool import Spool, SpoolError


@pytest.fixture
def spool(tmp_path):
    opened = Spool(tmp_path / "spool")
    yield opened
    opened.close()


def captured_ids(folder: Path) -> list[str]:
    recover(folder)
    return [
        record.request_id for segment in sealed_segments(folder) for record in read_segment(segment)
    ]


def ids(records) -> list[str]:
    return [record.request_id for record in records]


def test_every_appended_record_is_read_back_in_order(spool, make_record, tmp_path):
    records = [make_record(n) for n in range(50)]
    for record in records:
        spool.append(record)
    spool.close()
    assert captured_ids(tmp_path / "spool") == ids(records)


def test_a_record_is_on_disk_before_append_returns(spool, make_record, tmp_path):
    spool.append(make_record(1))
    (segment,) = (tmp_path / "spool").glob("*.live")
    assert measure(segment).num_records == 1


def test_a_segment_is_finished_when_it_reaches_its_size(tmp_path, make_record):
    spool = Spool(tmp_path, max_segment_bytes=10_000)
    for n in range(20):
        spool.append(make_record(n))
    sealed = sealed_segments(tmp_path)
    spool.close()
    assert len(sealed) >= 4
    assert all(path.stat().st_size <= 10_000 for path in sealed)


@pytest.mark.parametrize("max_segment_bytes", [300_000, 2_000_000])
def test_many_records_at_once_fill_segments_and_no_write_is_too_long(
    tmp_path, make_record, max_segment_bytes
):
    spool = Spool(tmp_path, max_segment_bytes=max_segment_bytes)
    records = [make_record(n) for n in range(1_500)]
    spool.append_frames([spool.frame(record) for record in records])
    spool.close()
    assert captured_ids(tmp_path) == ids(records)
    sealed = sealed_segments(tmp_path)
    assert len(sealed) > 1
    assert all(path.stat().st_size <= max_segment_bytes for path in sealed)


def test_a_segment_is_finished_at_its_age_without_another_record(tmp_path, make_record):
    spool = Spool(tmp_path, max_segment_age_s=0.2)
    spool.append(make_record())
    give_up_s = time.monotonic() + 5
    while not sealed_segments(tmp_path) and time.monotonic() < give_up_s:
        time.sleep(0.05)
    assert len(captured_ids(tmp_path)) == 1
    spool.close()


def test_a_wall_clock_that_runs_backwards_does_not_change_the_age(
    tmp_path, make_record, monkeypatch
):
    backwards = iter(range(2_000_000_000_000_000_000, 0, -3_600_000_000_000))
    monkeypatch.setattr(time, "time_ns", lambda: next(backwards))
    spool = Spool(tmp_path, max_segment_bytes=5_000)
    records = [make_record(n) for n in range(10)]
    for record in records:
        spool.append(record)
    spool.close()
    assert sorted(captured_ids(tmp_path)) == sorted(ids(records))


def test_records_of_concurrent_threads_stay_intact(spool, make_record, tmp_path):
    batches = [[make_record(100 * thread + n) for n in range(100)] for thread in range(8)]
    threads = [
        threading.Thread(target=lambda batch=batch: [spool.append(r) for r in batch])
        for batch in batches
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    spool.close()
    assert sorted(captured_ids(tmp_path / "spool")) == sorted(
        record.request_id for batch in batches for record in batch
    )


def test_the_segment_of_a_running_process_is_not_recovered(spool, make_record, tmp_path):
    spool.append(make_record())
    assert recover(tmp_path / "spool") == []
    assert len(live_segments(tmp_path / "spool")) == 1


@settings(max_examples=60, deadline=None)
@given(cut=st.integers(1, 3_000))
def test_a_torn_tail_is_cut_and_the_rest_kept(tmp_path_factory, make_record, cut):
    folder = tmp_path_factory.mktemp("spool")
    spool = Spool(folder)
    records = [make_record(n) for n in range(3)]
    for record in records[:2]:
        spool.append(record)
    (segment,) = folder.glob("*.live")
    whole = segment.stat().st_size
    spool.append(records[2])
    length = segment.stat().st_size
    spool.close()
    (sealed,) = sealed_segments(folder)
    torn = sealed.rename(sealed.with_suffix(".live"))
    os.truncate(torn, max(whole, length - cut))
    assert captured_ids(folder) == ids(records[:2])
    (sealed,) = sealed_segments(folder)
    assert measure(sealed).torn_bytes == 0


@settings(max_examples=60, deadline=None)
@given(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_a_flipped_bit_loses_one_record_and_none_after_it(
    tmp_path_factory, make_record, place, bit
):
    folder = tmp_path_factory.mktemp("spool")
    spool = Spool(folder)
    records = [make_record(n) for n in range(4)]
    for record in records:
        spool.append(record)
    spool.close()
    (segment,) = sealed_segments(folder)
    data = bytearray(segment.read_bytes())
    data[int(place * len(data))] ^= 1 << bit
    segment.write_bytes(bytes(data))
    found = captured_ids(folder)
    assert len(found) == 3
    assert set(found) < set(ids(records))


def test_sampling_keeps_its_share_and_all_crops_of_a_request(tmp_path, make_record):
    spool = Spool(tmp_path, sample_frac=0.25)
    for n in range(2_000):
        for index in range(2):
            spool.append(make_record(n, index=index, crop=None))
    spool.close()
    found = captured_ids(tmp_path)
    assert 400 < len(set(found)) < 600
    assert all(found.count(request_id) == 2 for request_id in set(found))


def test_originals_are_not_in_the_spool_when_not_kept(tmp_path, make_record):
    spool = Spool(tmp_path, keep_originals=False)
    record = make_record()
    spool.append(record)
    spool.close()
    (segment,) = sealed_segments(tmp_path)
    assert record.crop.tobytes() not in segment.read_bytes()


def test_fsync_keeps_the_same_records(tmp_path, make_record):
    spool = Spool(tmp_path, fsync=True)
    spool.append(make_record(5))
    spool.close()
    assert captured_ids(tmp_path) == ids([make_record(5)])


def test_a_closed_spool_refuses(spool, make_record):
    spool.close()
    assert not spool.writable()
    with pytest.raises(SpoolError, match="closed"):
        spool.append(make_record())


def test_a_folder_that_cannot_be_made_is_refused_at_start(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(SpoolError, match="cannot write the capture spool"):
        Spool(tmp_path / "file" / "spool")


@pytest.fixture
def largest_file():
    """Let no file grow beyond a size, as a full disk would; lifted at the end."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

    def limit(num_bytes: int) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, before[1]))

    yield limit
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, ignored)


def test_a_refused_write_is_taken_back_whole_and_the_spool_recovers(
    tmp_path, make_record, largest_file
):
    spool = Spool(tmp_path)
    acknowledged = []
    refused = 0
    largest_file(20_000)
    for n in range(20):
        try:
            spool.append(make_record(n))
            acknowledged.append(make_record(n).request_id)
        except SpoolError:
            refused += 1
    assert 0 < refused < 20
    largest_file(resource.RLIM_INFINITY)
    assert spool.writable()
    spool.append(make_record(99))
    spool.close()
    assert captured_ids(tmp_path) == [*acknowledged, make_record(99).request_id]


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 256 KiB of its own."""
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "digits", tmp_path],
        capture_output=True,
        text=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip(f"needs root to mount a small disk: {mounted.stderr.strip()}")
    yield tmp_path
    subprocess.run(["umount", "-l", tmp_path], check=True)


def test_a_full_disk_refuses_and_loses_nothing_it_accepted(small_disk, make_record):
    spool = Spool(small_disk)
    acknowledged, refused = [], 0
    for n in range(300):
        try:
            spool.append(make_record(n))
            acknowledged.append(make_record(n).request_id)
        except SpoolError:
            refused += 1
    assert acknowledged
    assert refused
    assert not spool.writable()
    assert captured_ids(small_disk) == acknowledged
    for segment in sealed_segments(small_disk):
        segment.unlink()
    assert spool.writable()
    spool.append(make_record(500))
    spool.close()


def test_a_disk_that_turns_read_only_refuses(small_disk, make_record):
    spool = Spool(small_disk, max_segment_bytes=4_000)
    spool.append(make_record(1))
    spool.flush()
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    with pytest.raises(SpoolError, match="Read-only"):
        spool.append(make_record(2))
    assert not spool.writable()
    subprocess.run(["mount", "-o", "remount,rw", small_disk], check=True)
    assert spool.writable()
    spool.append(make_record(3))
    spool.close()
    assert captured_ids(small_disk) == ids([make_record(1), make_record(3)])


def test_a_segment_that_recover_removed_before_its_lock_is_created_again(
    tmp_path, make_record, monkeypatch
):
    lock = fcntl.flock
    robbed = []

    def rob_first(descriptor: int, how: int) -> None:
        if not robbed:
            robbed.append(descriptor)
            recover(tmp_path)
        lock(descriptor, how)

    spool = Spool(tmp_path)
    monkeypatch.setattr(fcntl, "flock", rob_first)
    spool.append(make_record(1))
    spool.close()
    assert robbed
    assert captured_ids(tmp_path) == ids([make_record(1)])
