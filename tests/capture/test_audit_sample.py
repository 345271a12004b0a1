"""The audit sample: random, of the share that is set, independent of the capture sample."""

from __future__ import annotations

import csv
import io

import pytest
from made_records import make

from capture import ship
from capture.audit_sample import audit_hash, audit_probability
from capture.label_event import LabelEvent
from capture.labels import add_events, read_labels
from capture.spool import Spool, is_sampled
from capture.store import open_store
from monitoring.__main__ import main

IDS = [make(number).read_id for number in range(20_000)]


def marks(frac, index=0):
    return [audit_probability(one, index, audit_frac=frac, capture_frac=0.5) > 0 for one in IDS]


@pytest.mark.parametrize("frac", [0.0, 0.05, 0.5, 1.0])
def test_the_share_that_is_set_is_marked(frac):
    assert sum(marks(frac)) / len(IDS) == pytest.approx(frac, abs=0.012)


def test_the_probability_is_that_of_being_captured_and_marked():
    assert audit_probability(IDS[0], 0, audit_frac=1.0, capture_frac=0.5) == 0.5


def test_the_capture_sample_does_not_tell_which_crops_are_marked():
    captured = [one for one in IDS if is_sampled(one, 2**32 // 2)]
    marked = sum(audit_hash(one, 0) < 0.1 for one in captured)
    assert marked / len(captured) == pytest.approx(0.1, abs=0.012)


def test_each_crop_of_a_read_is_drawn_alone():
    both = sum(a and b for a, b in zip(marks(0.2), marks(0.2, index=1), strict=True))
    assert both / len(IDS) == pytest.approx(0.04, abs=0.006)


@pytest.fixture
def archive(tmp_path):
    """Thirty captured crops, of which the first twenty are marked."""
    spool = Spool(tmp_path / "spool")
    for number in range(30):
        spool.append(make(number, audit_probability=0.01 * (number < 20)))
    spool.close()
    store = open_store(str(tmp_path / "store"))
    ship.ship_once(tmp_path / "spool", store)
    return store


def listed(tmp_path, capsys):
    capsys.readouterr()
    assert main(["audits", "--day", "2026-11-20", "--store", str(tmp_path / "store")]) == 0
    return list(csv.DictReader(io.StringIO(capsys.readouterr().out)))


def test_a_day_without_a_marked_crop_gives_an_empty_label_file(tmp_path, capsys):
    assert listed(tmp_path, capsys) == []
    assert main(["audits", "--store", str(tmp_path / "store")]) == 0
    assert capsys.readouterr().out == "read_id,crop_index,site,how,label\n"


@pytest.mark.parametrize(
    "command", [["audits", "--day"], ["compact", "--day"], ["report", "--current"]]
)
@pytest.mark.parametrize("days", ["november", "2026-11-31", "2026-11-07..2026-11-01"])
def test_days_that_are_no_window_are_refused_with_the_value(command, days, capsys):
    with pytest.raises(SystemExit) as ended:
        main([*command, days])
    assert ended.value.code == 2
    assert days in capsys.readouterr().err.splitlines()[-1]


def test_the_marked_crops_that_nobody_audited_are_listed_in_random_order(archive, tmp_path, capsys):
    add_events(archive, [LabelEvent(make(0).read_id, 0, "4", "ada", 1, "audit")])
    add_events(archive, [LabelEvent(make(1).read_id, 0, "4", "ada", 1, "keyed")])
    ids = [row["read_id"] for row in listed(tmp_path, capsys)]
    assert sorted(ids) == [make(number).read_id for number in range(1, 20)]
    assert ids != sorted(ids)


def test_the_list_is_a_label_file_once_the_labels_are_filled_in(archive, tmp_path, capsys):
    rows = listed(tmp_path, capsys)
    path = tmp_path / "audits.csv"
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(row | {"label": "7"} for row in rows)
    folders = [f"--{name}={tmp_path / name}" for name in ("spool", "store")]
    assert main(["label", str(path), "--who", "ada", *folders]) == 0
    labels = read_labels(archive)
    assert len(labels) == 20
    assert labels["is_audit"].all()
    assert listed(tmp_path, capsys) == []
