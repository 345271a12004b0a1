"""Labelled crops from elsewhere join the next snapshot, framed as serving frames them."""

from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from capture.record import to_uint8
from capture.rows import to_png
from capture.snapshot_files import read_manifest
from capture.store import open_store
from model.preprocess import preprocess
from training.data.mnist_files import DataError
from training.snapshots.added import add, read_added
from training.snapshots.building import build
from training.snapshots.reading import read

NOW = datetime(2026, 11, 20, tzinfo=UTC)


@pytest.fixture
def data(tmp_path):
    return open_store(str(tmp_path / "data"))


@pytest.fixture
def padded(crops):
    """40 crops, four of each digit, as one size: label and pixels."""
    chosen = [crop for crop in crops if crop.pixels.shape[0] <= 64 and crop.pixels.shape[1] <= 64]
    by_digit = [[crop for crop in chosen if crop.label == digit][:4] for digit in range(10)]
    return [(crop.label, pad(crop.pixels)) for some in by_digit for crop in some]


def pad(pixels):
    rows, columns = (64 - side for side in pixels.shape)
    return np.pad(pixels, ((0, rows), (0, columns)), constant_values=255)


@pytest.fixture
def folder(tmp_path, padded):
    for number, (label, pixels) in enumerate(padded):
        path = tmp_path / "mine" / str(label)
        path.mkdir(parents=True, exist_ok=True)
        (path / f"{number:02}.png").write_bytes(to_png(pixels))
    return tmp_path / "mine"


def add_now(data, path, name="mine", site=""):
    return add(data, path, name=name, site=site, now=NOW)


def snapshot(data, tmp_path, month="2026-11"):
    return build(open_store(str(tmp_path / "archive")), data, month, git_commit="c0ffee")


def test_a_folder_joins_the_next_snapshot_as_serving_frames_it(data, tmp_path, folder, padded):
    add_now(data, folder, site="bonn-1")
    snapshot(data, tmp_path)
    found = read(data, "2026-11")
    assert (len(found.train), len(found.test)) == (32, 8)
    assert set(found.train.sources) == {"mine"}
    assert set(found.train.sites) == {"bonn-1"}
    assert read_manifest(data, "2026-11")["added"]["mine"]
    framed = {to_uint8(preprocess(pixels)).tobytes() for _, pixels in padded}
    assert {image.tobytes() for image in found.train.images} <= framed


@pytest.mark.parametrize("form", ["npz", "parquet"])
def test_an_npz_and_a_parquet_file_give_the_same_rows_as_a_folder(
    data, tmp_path, folder, padded, form
):
    by_folder = add_now(data, folder, name="folder").rows
    path = tmp_path / f"crops.{form}"
    labels, pixels = [label for label, _ in padded], [one for _, one in padded]
    if form == "npz":
        np.savez(path, images=np.stack(pixels), labels=labels)
    else:
        pq.write_table(pa.table({"png": [to_png(one) for one in pixels], "label": labels}), path)
    rows = add_now(data, path).rows
    for name in ("crop_png", "image_png", "label"):
        assert rows[name].to_pylist() == by_folder[name].to_pylist()


def test_bad_files_are_named_one_by_one_and_nothing_is_added(data, folder):
    (folder / "3" / "broken.png").write_bytes(b"no picture")
    (folder / "12").mkdir()
    (folder / "12" / "twelve.png").write_bytes(next(folder.glob("1/*.png")).read_bytes())
    with pytest.raises(DataError) as error:
        add_now(data, folder)
    assert "nothing is added, 2 of 42 crops" in str(error.value)
    assert "3/broken.png: " in str(error.value)
    assert "12/twelve.png: label 12; labels are 0 to 9" in str(error.value)
    assert data.find("") == []


@pytest.mark.parametrize("label", [12, 255, -1])
def test_a_label_that_is_no_digit_is_refused_with_its_row(data, tmp_path, crops, label):
    labels = [crops[0].label, label]
    pq.write_table(pa.table({"png": [crops[0].png] * 2, "label": labels}), tmp_path / "x.parquet")
    with pytest.raises(DataError, match=rf"x\.parquet, row 1: label {label}; labels are 0 to 9"):
        add_now(data, tmp_path / "x.parquet")


@pytest.mark.parametrize("name", ["captures", "Mine", "../mine", ""])
def test_a_name_that_cannot_be_one_is_refused(data, folder, name):
    with pytest.raises(DataError, match="cannot be a name"):
        add_now(data, folder, name=name)


def test_a_taken_name_is_refused_and_the_set_stays(data, folder):
    add_now(data, folder)
    (next(folder.glob("1/*.png"))).unlink()
    with pytest.raises(DataError, match="there already"):
        add_now(data, folder)
    assert read_added(data, datetime.max.replace(tzinfo=UTC))[0].num == 40


def test_what_is_none_of_the_three_forms_is_refused_with_what_is_expected(data, tmp_path):
    with pytest.raises(DataError, match="sub-folders 0 to 9"):
        add_now(data, tmp_path / "nowhere.txt")
    (tmp_path / "x.npz").write_bytes(b"not a zip")
    with pytest.raises(DataError, match=r"cannot read .*x\.npz"):
        add_now(data, tmp_path / "x.npz")


def test_a_set_joins_no_month_before_it_was_added(data, tmp_path, folder):
    add_now(data, folder)
    assert snapshot(data, tmp_path, "2026-10").num_train == 0
    assert snapshot(data, tmp_path, "2026-11").num_train == 32
