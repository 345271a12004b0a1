"""A file of the archive that was cut by another hand hides no other file."""

import resource

import pytest
from made_records import NOON

from capture import archive
from capture.archive import LABEL_EVENTS, RECORDS, Window
from capture.compaction import compact
from capture.damaged import whole_files
from capture.erasure import erase_from_archive, fingerprint
from capture.label_event import LabelEvent
from capture.labels import add_events
from capture.rows import rows_by_partition
from capture.sampling import read_sample
from capture.store import open_store
from monitoring.__main__ import main

DAY = Window(NOON.date(), NOON.date())


@pytest.fixture
def store(tmp_path):
    return open_store(str(tmp_path / "archive"))


@pytest.fixture
def keys(store, make_record):
    """Three files of one site; the first is of record 0, and so on."""
    found = []
    for number in range(3):
        tables, _ = rows_by_partition([make_record(number, site="leeds")])
        for folder, table in tables.items():
            found.append(f"{folder}/{fingerprint(str(number))}.parquet")
            store.put(found[-1], archive.encode(table), content_type=archive.PARQUET)
    return found


def cut(store, key, size):
    store.put(key, store.get(key)[:size], content_type=archive.PARQUET)


@pytest.mark.parametrize("size", [0, 10, 500, -1])
def test_a_cut_file_is_left_out_and_named(store, keys, caplog, size):
    cut(store, keys[1], size)
    assert whole_files(store, keys) == [keys[0], keys[2]]
    assert f"{keys[1]} is damaged and left out; restore it" in caplog.text


def test_a_folder_in_place_of_a_file_is_left_out(store, keys, tmp_path):
    (tmp_path / "archive" / keys[1]).unlink()
    (tmp_path / "archive" / keys[1]).mkdir()
    assert whole_files(store, keys) == [keys[0], keys[2]]


def test_a_file_that_cannot_be_opened_now_is_not_taken_for_damaged(store, keys):
    """Left out, its reads would be missing in a report that says nothing of it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))  # no more files, as on a busy machine
    try:
        whole = whole_files(store, keys)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert whole == keys


def test_the_other_files_of_a_day_are_read(store, keys):
    cut(store, keys[1], 500)
    sample = read_sample(store, DAY, columns=["digit"], max_rows=100, min_rows_per_site=100)
    assert sorted(sample.rows["digit"]) == [0, 2]


def test_the_other_files_of_a_day_are_merged_and_the_damaged_one_is_kept(store, keys, caplog):
    cut(store, keys[1], 500)
    assert compact(store, NOON.date()) == 2
    left = store.find(f"{RECORDS}/")
    assert keys[1] in left
    assert len(left) == 2
    assert f"{keys[1]} is not merged" in caplog.text


def test_a_read_is_erased_from_the_files_that_can_be_read(store, keys, make_record, caplog):
    cut(store, keys[0], 500)
    assert erase_from_archive(store, make_record(2).read_id).num_rows == 1
    assert store.find(f"{RECORDS}/") == sorted(keys[:2])
    assert f"{keys[0]} cannot be searched" in caplog.text


def test_an_erasure_that_could_not_search_every_file_fails_and_names_it(
    store, keys, make_record, tmp_path, capsys
):
    cut(store, keys[0], 500)
    folders = [f"--{name}={tmp_path / name}" for name in ("spool", "reports")]
    erase = ["erase", make_record(2).read_id, "--store", store.url, *folders]
    assert main(erase) == 1
    told = capsys.readouterr()
    assert "removed 0 records from the spool, 1 rows" in told.out
    assert "then erase again" in told.err
    assert keys[0] in told.err
    store.delete([keys[0]])
    assert main(erase) == 0


def test_a_damaged_file_of_labels_is_refused_by_its_name(store, tmp_path, capsys):
    event = LabelEvent("a", 0, "7", "anna", 1_700_000_000_000_000, "keyed", "leeds")
    add_events(store, [event], name="one")
    (key,) = store.find(f"{LABEL_EVENTS}/")
    cut(store, key, 500)
    assert main(["labelled", "--store", store.url, "--out", str(tmp_path / "out.npz")]) == 1
    assert f"{key} is damaged" in capsys.readouterr().err
