"""Another hand in the spool: never an acknowledged record that is not on disk."""

from __future__ import annotations

import os
import shutil
import threading
from pathlib import Path

import pytest
from made_records import make

from capture import ship
from capture.segments import erase_from_spool, live_segments, read_spool, sealed_segments
from capture.spool import Spool, SpoolError
from capture.store import open_store


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "spool"


@pytest.fixture
def spool(folder):
    opened = Spool(folder)
    opened.append(make(0))
    yield opened
    folder.mkdir(exist_ok=True)
    opened.close()


def live(folder: Path) -> Path:
    (path,) = folder.glob("*.live")
    return path


def replace_by_a_copy(folder):
    copy = folder / "copy"
    shutil.copy(live(folder), copy)
    copy.replace(live(folder))


OTHER_HANDS = {
    "segment removed": lambda folder: live(folder).unlink(),
    "segment renamed": lambda folder: live(folder).rename(folder / "other.live"),
    "segment moved": lambda folder: live(folder).rename(folder.parent / "other"),
    "segment replaced": replace_by_a_copy,
    "segment truncated": lambda folder: os.truncate(live(folder), 10),
    "segment emptied": lambda folder: os.truncate(live(folder), 0),
    "segment grown": lambda folder: live(folder).write_bytes(live(folder).read_bytes() + b"x"),
    "folder removed": shutil.rmtree,
    "folder renamed": lambda folder: folder.rename(folder.with_name("old")),
    "folder replaced": lambda folder: (folder.rename(folder.with_name("old")), folder.mkdir()),
}


@pytest.mark.parametrize("how", OTHER_HANDS)
def test_the_next_write_is_refused_and_writing_recovers(spool, folder, how):
    OTHER_HANDS[how](folder)
    with pytest.raises(SpoolError):
        spool.append(make(1))
    folder.mkdir(exist_ok=True)
    spool.append(make(2))
    assert spool.writable()
    assert make(2).read_id in [record.read_id for record in read_spool(folder)]


@pytest.mark.parametrize("how", OTHER_HANDS)
def test_readiness_is_red_without_a_write_and_green_again(spool, folder, how):
    assert spool.writable()
    OTHER_HANDS[how](folder)
    assert not spool.writable()
    folder.mkdir(exist_ok=True)
    assert spool.writable()
    spool.append(make(2))
    assert make(2).read_id in [record.read_id for record in read_spool(folder)]


def test_readiness_stays_red_while_the_folder_is_gone(spool, folder):
    shutil.rmtree(folder)
    for _ in range(3):
        with pytest.raises(SpoolError):
            spool.append(make(1))
        assert not spool.writable()
    assert not folder.exists()


def test_another_s_file_at_the_segment_s_path_is_left_alone(spool, folder):
    path = live(folder)
    path.unlink()
    path.write_text("not ours")
    with pytest.raises(SpoolError):
        spool.append(make(1))
    assert path.read_text() == "not ours"


def test_a_truncated_segment_keeps_what_is_left_of_it(spool, folder):
    size = live(folder).stat().st_size
    spool.append(make(1))
    os.truncate(live(folder), size)
    with pytest.raises(SpoolError):
        spool.append(make(2))
    spool.append(make(3))
    spool.close()
    found = {one.read_id for one in read_spool(folder)}
    assert {make(0).read_id, make(3).read_id} <= found


@pytest.fixture
def odd_names(folder, tmp_path):
    """What is no segment, with names that are."""
    folder.mkdir()
    secret = tmp_path / "secret"
    secret.write_bytes(b"not a segment")
    for suffix in (".open", ".live", ".seg", ".done", ".bad"):
        (folder / f"folder{suffix}").mkdir()
        os.mkfifo(folder / f"fifo{suffix}")
        (folder / f"link{suffix}").symlink_to(secret)
        (folder / f"dangling{suffix}").symlink_to(tmp_path / "nowhere")
    return secret


def in_time(work):
    """Run it in a thread; a pipe that is waited for fails the test instead of stopping it."""
    done = []
    thread = threading.Thread(target=lambda: done.append(work()), daemon=True)
    thread.start()
    thread.join(timeout=20)
    assert done, "it waits"
    return done[0]


def test_folders_pipes_and_links_with_a_segment_s_name_are_left_alone(odd_names, folder, tmp_path):
    before = sorted(folder.iterdir())
    opened = in_time(lambda: Spool(folder))
    opened.append(make(1))
    opened.flush()
    assert in_time(lambda: live_segments(folder)) == []
    store = open_store(str(tmp_path / "store"))
    assert in_time(lambda: ship.ship_once(folder, store)).num_records == 1
    assert in_time(lambda: erase_from_spool(folder, ["x"])) == 0
    opened.close()
    assert sorted(folder.iterdir()) == before
    assert odd_names.read_bytes() == b"not a segment"


def test_a_finished_segment_that_cannot_be_read_stops_no_other(folder, tmp_path, monkeypatch):
    for n in range(2):
        opened = Spool(folder)
        opened.append(make(n))
        opened.close()
    first = sealed_segments(folder)[0]
    read = ship.read_bytes

    def fail_on_first(path):
        if path == first:
            raise PermissionError("no")
        return read(path)

    monkeypatch.setattr(ship, "read_bytes", fail_on_first)
    assert ship.ship_once(folder, open_store(str(tmp_path / "store"))).num_records == 1
    assert sealed_segments(folder) == [first]


def test_a_read_is_erased_from_what_was_set_aside(folder):
    opened = Spool(folder)
    for n in range(3):
        opened.append(make(n))
    opened.close()
    (sealed,) = sealed_segments(folder)
    sealed.rename(sealed.with_suffix(".bad"))
    assert erase_from_spool(folder, [make(1).read_id]) == 1
    assert sorted(one.read_id for one in read_spool(folder)) == [make(0).read_id, make(2).read_id]
