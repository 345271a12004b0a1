"""What a doubted model accepted is read again, and what changes is listed by site and hour."""

import csv
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from made_records import NOON, make

from capture import ship
from capture.spool import Spool
from capture.store import open_store
from model import artifact
from model.classifier import Classifier
from model.decision import decide
from model.errors import BlankCrop
from model.preprocess import frame
from training.steps import recall
from training.steps.files import StepError

CHAMPION = Path("model/champion")
CROPS = Path("tests/data/crops")


@pytest.fixture(scope="module")
def read():
    """Images that the champion accepts, with its digit."""
    from PIL import Image

    served = artifact.load(CHAMPION)
    images = []
    for path in sorted(CROPS.glob("*.png")):
        try:
            images.append(frame(np.asarray(Image.open(path).convert("L"))).image)
        except BlankCrop:
            continue
    images = [np.rint(255 * image).astype(np.uint8) for image in images]
    batch = np.stack(images).astype(np.float32) / 255
    decisions = decide(Classifier(served.onnx_bytes)(batch), served.policy())
    return [
        (image[0], decision.digit)
        for image, decision in zip(images, decisions, strict=True)
        if decision.accepted
    ]


def record(number, read, *, digit, **changes):
    return make(number, image=read[number][0], digit=digit, model_version="7", **changes)


@pytest.fixture
def archive(tmp_path, read):
    """Version 7 read crops 1 and 2 wrongly, an hour apart, in two places."""
    wrong = [(right + 1) % 10 for _, right in read]
    later = int((NOON + timedelta(hours=1)).timestamp() * 1e6)
    early = int((NOON - timedelta(hours=2)).timestamp() * 1e6)
    spool = Spool(tmp_path / "spool")
    for one in (
        record(0, read, digit=read[0][1]),
        record(1, read, digit=wrong[1]),
        record(2, read, digit=wrong[2], site="bonn", time_us=later),
        record(3, read, digit=wrong[3], time_us=early),
        record(4, read, digit=wrong[4], accepted=False, rejected_because="low_confidence"),
        make(5, image=read[5][0], digit=wrong[5], model_version="6"),
    ):
        spool.append(one)
    spool.close()
    store = open_store(str(tmp_path / "archive"))
    ship.ship_once(tmp_path / "spool", store)
    return store


def run(archive, tmp_path, **changes):
    options = {"since": NOON, "version": "7", "listing": tmp_path / "recall.csv"}
    return recall.run(CHAMPION, archive, **(options | changes))


def test_the_accepted_reads_of_that_model_since_that_time_are_read_again(archive, tmp_path, read):
    found = run(archive, tmp_path)
    assert found.num_read == 3
    assert [(one.site, answer) for one, answer in found.changed] == [
        ("bonn", str(read[2][1])),
        ("leeds", str(read[1][1])),
    ]


def test_the_changes_are_told_by_site_and_hour(archive, tmp_path):
    lines = str(run(archive, tmp_path)).splitlines()
    assert lines[2:] == ["| bonn | 2026-11-20 13:00 | 1 |", "| leeds | 2026-11-20 12:00 | 1 |"]


def test_the_list_names_each_read(archive, tmp_path, read):
    run(archive, tmp_path)
    with (tmp_path / "recall.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["request_id"] for row in rows] == [make(2).request_id, make(1).request_id]
    assert rows[1]["digit"] == str((read[1][1] + 1) % 10)


def test_a_read_that_the_champion_would_reject_is_listed(tmp_path):
    spool = Spool(tmp_path / "spool")
    noise = np.random.default_rng(0).integers(0, 256, (28, 28), dtype=np.uint8)
    spool.append(make(1, image=noise, model_version="7"))
    spool.close()
    store = open_store(str(tmp_path / "archive"))
    ship.ship_once(tmp_path / "spool", store)
    assert run(store, tmp_path).changed[0][1] == recall.REJECTED


def test_without_a_rollback_the_model_must_be_named(archive, tmp_path):
    with pytest.raises(StepError, match="name the model with --version"):
        recall._rolled_back(tmp_path / "champion", "6")


def test_an_archive_that_cannot_be_read_is_an_error_of_one_line(tmp_path):
    (tmp_path / "archive/records/day=2026-11-20/site=leeds").mkdir(parents=True)
    path = tmp_path / "archive/records/day=2026-11-20/site=leeds/a.parquet"
    path.write_bytes(b"PAR1no footer" + (9).to_bytes(4, "little") + b"PAR1")
    with pytest.raises(StepError, match="cannot read the archive"):
        run(open_store(str(tmp_path / "archive")), tmp_path)


def test_no_capture_since_then_changes_nothing(archive, tmp_path):
    assert run(archive, tmp_path, since=datetime(2030, 1, 1, tzinfo=UTC)).num_read == 0
