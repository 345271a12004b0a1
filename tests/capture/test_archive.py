from __future__ import annotations

from datetime import date

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_records import NOON

from capture import archive
from capture.archive import Window, parse_window
from capture.compaction import compact, expire
from capture.erasure import erase_from_archive, fingerprint, picture_name
from capture.label_event import LabelEvent
from capture.labels import add_events, read_labels
from capture.rows import day_of, rows_by_partition
from capture.sampling import hash_limit, read_pictures, read_sample
from capture.segments import read_segment, sealed_segments
from capture.spool import Spool
from monitoring.__main__ import main

DAY = Window(date(2026, 11, 20), date(2026, 11, 20))
TODAY = date(2026, 11, 21)


def fill(store, records) -> None:
    """Put records straight into the archive, a file for each call and site."""
    tables, _ = rows_by_partition(list(records))
    for folder, table in tables.items():
        key = f"{folder}/{fingerprint(table['read_id'][0].as_py())}.parquet"
        store.put(key, archive.encode(table), content_type=archive.PARQUET)


def rows_in(store, window=DAY, columns=(), max_rows=100_000, min_rows_per_site=100_000):
    return read_sample(
        store, window, columns=columns, max_rows=max_rows, min_rows_per_site=min_rows_per_site
    )


@pytest.mark.parametrize(
    ("text", "first", "last"),
    [
        ("yesterday", "2026-11-20", "2026-11-20"),
        ("2026-11-01..2026-11-07", "2026-11-01", "2026-11-07"),
        ("2026-11-01..today", "2026-11-01", "2026-11-21"),
        ("2026-11-03", "2026-11-03", "2026-11-03"),
    ],
)
def test_windows_are_read(text, first, last):
    assert parse_window(text, today=TODAY) == Window(
        date.fromisoformat(first), date.fromisoformat(last)
    )


@pytest.mark.parametrize("text", ["", "tomorrow", "2026-11-31", "2026-11-07..2026-11-01"])
def test_other_windows_are_refused(text):
    with pytest.raises(ValueError, match=r"window|before the first"):
        parse_window(text, today=TODAY)


def test_an_empty_archive_gives_no_rows(store):
    sample = rows_in(store, columns=["digit", "ink_mass"])
    assert sample.num_stored == 0
    assert list(sample.rows["digit"]) == []


def test_a_sample_is_bounded_fair_and_the_same_again(store, make_record):
    fill(store, (make_record(n, site="big", crop=None) for n in range(900)))
    fill(store, (make_record(n, site="small", crop=None) for n in range(900, 1_000)))
    sample = rows_in(store, max_rows=200, min_rows_per_site=80)
    assert sample.num_stored == 1_000
    fair = sample.rows[sample.rows["sample_key"] < sample.sample_below]
    assert 150 < len(fair) < 270
    assert 0.02 < (fair["site"] == "small").mean() < 0.2
    assert (sample.rows["site"] == "small").sum() > 60
    again = rows_in(store, max_rows=200, min_rows_per_site=80)
    assert list(again.rows["request_id"]) == list(sample.rows["request_id"])


def test_bulk_requests_are_no_part_of_the_sample_but_of_the_audit(store, make_record):
    records = [make_record(n, is_bulk=n % 2 == 0, audit_probability=0.01) for n in range(100)]
    fill(store, records)
    sample = rows_in(store, columns=["digit"], max_rows=1_000, min_rows_per_site=10)
    assert (len(sample.rows), sample.num_stored, len(sample.marked)) == (50, 50, 100)
    assert not sample.rows["is_bulk"].any()


def test_labelled_rows_are_read_whether_sampled_or_not(store, make_record):
    records = [make_record(n, crop=None) for n in range(600)]
    fill(store, records)
    labels = pd.DataFrame(
        {
            "read_id": [record.read_id for record in records[:40]] + ["unknown"],
            "crop_index": 0,
            "label": 3,
        }
    )
    bounds = {"max_rows": 100, "min_rows_per_site": 0}
    sample = read_sample(store, DAY, columns=[], labels=labels, **bounds)
    assert sorted(sample.labelled["read_id"]) == sorted(labels["read_id"][:40])
    without = read_sample(store, DAY, columns=[], **bounds)
    assert list(sample.rows["request_id"]) == list(without.rows["request_id"])
    assert len(without.labelled) == 0
    erase_from_archive(store, records[0].request_id)
    sample = read_sample(store, DAY, columns=[], labels=labels, **bounds)
    assert len(sample.labelled) == 39


@given(num_rows=st.integers(0, 10**9), max_rows=st.integers(1_000, 10**6))
def test_a_sample_expects_at_most_five_percent_more_than_asked(num_rows, max_rows):
    expected = hash_limit(max_rows, num_rows) / 2**32 * num_rows
    assert expected <= max_rows * 1.05 + 1e-6
    assert expected >= min(num_rows, max_rows) * 0.999


def test_only_the_window_s_days_are_read(store, make_record):
    day_us = 86_400_000_000
    noon_us = int(NOON.timestamp() * 1e6)
    fill(store, (make_record(n, time_us=noon_us + (n - 3) * day_us) for n in range(6)))
    week = Window(date(2026, 11, 18), date(2026, 11, 21))
    assert sorted(rows_in(store, week).rows["day"]) == [
        "2026-11-18",
        "2026-11-19",
        "2026-11-20",
        "2026-11-21",
    ]


def test_pictures_of_chosen_records_are_fetched(store, make_record):
    fill(store, (make_record(n) for n in range(5)))
    key = (make_record(3).request_id, 0)
    pictures = read_pictures(store, DAY, [key])
    assert list(pictures.index) == [key]
    assert pictures.loc[key, "crop_png"].startswith(b"\x89PNG")


def test_compacting_merges_a_site_s_files_and_dedupes(store, make_record):
    for start in (0, 3, 6):
        fill(store, (make_record(n, site="a") for n in range(start, start + 5)))
    fill(store, [make_record(99, site="b")])
    before = list(rows_in(store).rows["request_id"])
    assert compact(store, DAY.first) == 3
    assert len(store.find("records/")) == 2
    sample = rows_in(store)
    assert list(sample.rows["request_id"]) == before
    assert sample.num_stored == 12
    assert compact(store, DAY.first) == 0


def test_a_compaction_killed_before_it_deletes_changes_no_answer(store, make_record, monkeypatch):
    for start in (0, 3):
        fill(store, (make_record(n) for n in range(start, start + 5)))
    before = list(rows_in(store).rows["request_id"])
    with monkeypatch.context() as patch:
        patch.setattr(type(store), "delete", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            compact(store, DAY.first)
    assert list(rows_in(store).rows["request_id"]) == before
    compact(store, DAY.first)
    assert list(rows_in(store).rows["request_id"]) == before
    assert len(store.find("records/")) == 1


def test_compacting_reads_a_bounded_part_of_a_day_into_memory(store, make_record, monkeypatch):
    monkeypatch.setattr("capture.compaction.MERGE_BYTES", 60_000)
    for start in range(0, 60, 3):
        fill(store, (make_record(n) for n in range(start, start + 3)))
    before = list(rows_in(store).rows["request_id"])
    assert compact(store, DAY.first) == 20
    assert 2 <= len(store.find("records/")) <= 10
    assert list(rows_in(store).rows["request_id"]) == before
    assert compact(store, DAY.first) == 0


def test_old_days_expire(store, make_record):
    fill(store, [make_record(1), make_record(2, time_us=0)])
    assert expire(store, keep_days=30, today=TODAY) == 1
    assert len(rows_in(store).rows) == 1


@pytest.mark.parametrize("request_id", ["0193465c-5800-7000-8000-000000000003", "scanner-7/batch"])
def test_an_erased_request_is_gone_and_does_not_come_back(store, make_record, request_id):
    noon_us = int(NOON.timestamp() * 1e6)
    if request_id.startswith("0193"):  # the uuid7 says 2024-11-19: search there
        noon_us = (int("0193465c5800", 16)) * 1000
    window = Window(*(date.fromisoformat(day_of(noon_us)),) * 2)
    records = [make_record(n, time_us=noon_us + n) for n in range(2)]
    mine = [make_record(3, request_id=request_id, time_us=noon_us, index=n) for n in range(2)]
    fill(store, [*records, *mine])
    add_events(
        store,
        [LabelEvent(one, 0, "4", "ada", 1, "keyed") for one in (request_id, "other")],
    )
    assert erase_from_archive(store, request_id).num_rows == 3
    assert len(rows_in(store, window).rows) == 2
    assert list(read_labels(store)["read_id"]) == ["other"]
    fill(store, mine)  # it was still in a spool somewhere
    assert request_id not in set(rows_in(store, window).rows["request_id"])
    compact(store, window.first)
    everything = b"".join(store.get(key) for key in store.find(""))
    assert request_id.encode() not in everything


def test_a_request_whose_id_was_made_by_a_wrong_clock_is_erased(store, make_record):
    request_id = "0193465c-5800-7000-8000-000000000042"  # a uuid7 of 2024; the record is of 2026
    fill(store, [make_record(1, request_id=request_id), make_record(2)])
    add_events(store, [LabelEvent(request_id, 0, "4", "ada", 1, "keyed")])
    assert erase_from_archive(store, request_id).num_rows == 2
    everything = b"".join(store.get(key) for key in store.find("records/"))
    assert request_id.encode() not in everything


def test_the_erase_command_reaches_spool_archive_and_pictures(tmp_path, make_record, capsys):
    from capture.store import open_store

    spool = Spool(tmp_path / "spool")
    for n in range(3):
        spool.append(make_record(n))
    spool.close()
    mine = make_record(1).request_id
    reports = open_store(str(tmp_path / "reports"))
    reports.put(f"2026-11-20/{picture_name(mine, 0)}", b"PNG", content_type="image/png")
    folders = [f"--{name}={tmp_path / name}" for name in ("spool", "store", "reports")]
    assert main(["erase", mine, *folders]) == 0
    assert "1 records from the spool, 0 rows, 1 pictures" in capsys.readouterr().out
    (segment,) = sealed_segments(tmp_path / "spool")
    assert [record.request_id for record in read_segment(segment)] == [
        make_record(n).request_id for n in (0, 2)
    ]
    assert reports.find("") == []


def test_files_from_before_a_column_was_added_are_compacted_with_later_ones(store, make_record):
    fill(store, [make_record(1)])
    (key,) = store.find("records/")
    older = archive.decode(store.get(key)).drop_columns(["gap"])
    store.put(key, archive.encode(older), content_type=archive.PARQUET)
    fill(store, [make_record(2)])
    assert compact(store, DAY.first) == 2
    rows = rows_in(store, columns=["gap"]).rows
    assert rows["gap"].isna().sum() == 1
    assert len(rows) == 2
