"""Captured mail is read with both models; what they read differently goes to people."""

import csv
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from made_records import make
from PIL import Image

from capture import ship
from capture.label_event import LabelEvent
from capture.labels import add_events
from capture.spool import Spool
from capture.store import open_store
from model import artifact
from model.classifier import Classifier
from model.decision import decide
from model.preprocess import frame
from training.evaluation.sequential import Standing
from training.steps import replay
from training.steps.files import StepError

CHAMPION = Path("model/champion")
NOW_US = int(datetime.now(UTC).timestamp() * 1e6)


@pytest.fixture(scope="module")
def images():
    paths = sorted(Path("tests/data/crops").glob("*.png"))[:20]
    crops = [frame(np.asarray(Image.open(path).convert("L"))).image[0] for path in paths]
    return [np.rint(255 * crop).astype(np.uint8) for crop in crops]


@pytest.fixture(scope="module")
def digits(images):
    """What the champion reads."""
    served = artifact.load(CHAMPION)
    batch = np.stack(images)[:, None].astype(np.float32) / np.float32(255)
    return [one.digit for one in decide(Classifier(served.onnx_bytes)(batch), served.policy())]


class ShiftedReader(replay.Reader):
    """A candidate that reads every third crop as the next digit."""

    def __call__(self, answered):
        decisions = super().__call__(answered)
        return [
            one._replace(digit=(one.digit + 1) % 10) if crop.crop_index % 3 == 0 else one
            for crop, one in zip(answered, decisions, strict=True)
        ]


@pytest.fixture
def archive(tmp_path, images):
    spool = Spool(tmp_path / "spool")
    for number, image in enumerate(images):
        spool.append(make(0, image=image, index=number, time_us=NOW_US))
    spool.append(make(1, image=None, crop=None, digit=None, probs=(), time_us=NOW_US))
    spool.append(make(2))  # long ago
    spool.close()
    store = open_store(str(tmp_path / "archive"))
    ship.ship_once(tmp_path / "spool", store)
    return store


@pytest.fixture
def run(archive, tmp_path, monkeypatch):
    def go():
        return replay.run(
            CHAMPION,
            CHAMPION,
            archive,
            days=1,
            listing=tmp_path / "replay.csv",
            picture=tmp_path / "replay.png",
        )

    return go


@pytest.fixture
def shifted(monkeypatch):
    load = replay._load

    def shift(candidate):
        reader = load(candidate)
        return ShiftedReader(reader.classifier, reader.policy)

    monkeypatch.setattr(replay, "_load", shift)


def test_two_equal_models_differ_nowhere(run, tmp_path):
    found = run()
    assert (found.num_read, found.differences) == (20, ())
    assert found.num_accepted[0] == found.num_accepted[1] > 0
    assert not (tmp_path / "replay.png").exists()


def test_only_what_is_read_differently_goes_to_people(run, shifted, tmp_path):
    assert len(run().differences) == 7
    with (tmp_path / "replay.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert sorted(int(row["crop_index"]) for row in rows) == [0, 3, 6, 9, 12, 15, 18]
    assert {row["label"] for row in rows} == {""}
    with Image.open(tmp_path / "replay.png") as picture:
        assert picture.size[0] > 300


def test_their_labels_decide_after_each_key(run, shifted, archive, digits):
    events = [
        LabelEvent(make(0).read_id, number, str(digits[number]), "ada", 1, "keyed")
        for number in (0, 3, 6)
    ]
    add_events(archive, events)
    found = run()
    assert found.standing == Standing(num_champion=3, num_candidate=0)
    assert "7 are read as different digits, 4 of them without a label" in str(found)
    assert str(found).endswith("(0 keyed crops for the candidate, 3 for the champion)")


def test_a_work_folder_that_was_not_evaluated_is_refused(archive, tmp_path):
    with pytest.raises(StepError, match="evaluate"):
        replay._load(tmp_path)
