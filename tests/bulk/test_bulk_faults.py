"""Bad inputs are rows, foreign files are listed, and a source that is damaged says so."""

import csv
import os

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from bulk_sources import folder_of, parquet_of, read, rows_of, run_command, tar_of, zip_of

from bulk.crop_reading import CropReader
from bulk.inputs import SourceError
from model import artifact
from model.classifier import Classifier


def test_a_bad_crop_is_a_row_and_harms_no_neighbour(crops, tmp_path, tiny_champion):
    folder = folder_of(crops, tmp_path / "in")
    (folder / "a-text.png").write_bytes(b"no picture")
    (folder / "an-empty.jpg").write_bytes(b"")
    (folder / "huge.png").write_bytes(crops[0].png + bytes(3_000_000))
    (folder / "cut.png").write_bytes(crops[0].png[:60])
    report = read(folder, tmp_path / "out", tiny_champion)
    rows = {row["name"].rpartition("/")[2]: row for row in rows_of(tmp_path / "out")}
    errors = {name: row["error"].partition(":")[0] for name, row in rows.items() if row["error"]}
    assert errors == {
        "a-text.png": "UnsupportedFormat",
        "an-empty.jpg": "UnsupportedFormat",
        "cut.png": "UnreadableCrop",
        "huge.png": "CropSizeError",
    }
    assert all(rows[crop.name]["digit"] == crop.label for crop in crops)
    assert report.counts.errors == 4
    bad = rows["a-text.png"]
    assert (bad["digit"], bad["confidence"], bad["accepted"]) == (None, None, False)
    assert (bad["candidates"], bad["rejected_because"]) == (None, None)


def test_a_null_is_a_row_with_its_error(crops, tmp_path, tiny_champion):
    table = pa.table({"crop": [crops[0].png, None, crops[1].png]})
    pq.write_table(table, tmp_path / "in.parquet")
    read(tmp_path / "in.parquet", tmp_path / "out", tiny_champion)
    rows = rows_of(tmp_path / "out")
    assert [row["digit"] for row in rows] == [crops[0].label, None, crops[1].label]
    assert "its value is null" in rows[1]["error"]


def test_arrays_of_another_shape_are_rows_with_their_errors(tmp_path, tiny_champion):
    ragged = [[[1, 2, 3, 4], [5]], [[9, 200] * 4] * 8, [[1] * 3] * 3]
    table = pa.table({"pixels": pa.array(ragged, pa.list_(pa.list_(pa.uint8())))})
    pq.write_table(table, tmp_path / "in.parquet")
    read(tmp_path / "in.parquet", tmp_path / "out", tiny_champion)
    errors = [row["error"] for row in rows_of(tmp_path / "out")]
    assert "differ in length" in errors[0]
    assert errors[1] is None
    assert "3x3 px" in errors[2]


class Fragile:
    """A model that fails on a batch with one certain image."""

    def __init__(self, bad, classifier):
        self.bad, self.classifier = bad, classifier

    def __call__(self, batch):
        if (batch == self.bad).all(axis=(1, 2, 3)).any():
            raise MemoryError("this one is too much")
        return self.classifier(batch)


def test_an_unexpected_failure_costs_its_own_crop_only(crops, images, tiny_champion):
    loaded = artifact.load(tiny_champion)
    fragile = Fragile(images[5], Classifier(loaded.onnx_bytes))
    outcomes = CropReader(fragile, loaded.policy()).read([crop.png for crop in crops[:20]])
    assert str(outcomes[5]) == "this one is too much"
    right = [crop.label for place, crop in enumerate(crops[:20]) if place != 5]
    assert [one.digit for one in outcomes if not isinstance(one, Exception)] == right


def test_what_is_no_picture_by_its_name_is_counted_and_listed(crops, tmp_path, tiny_champion):
    folder = folder_of(crops[:2], tmp_path / "in")
    (folder / "notes.txt").write_text("no crop")
    (folder / "=1+2.txt").write_text("a name that a spreadsheet would calculate")
    (folder / "deep" / "er").mkdir(parents=True)
    (folder / "deep" / "er" / "list.csv").write_text("a")
    os.mkfifo(folder / "pipe.png")
    report = read(folder, tmp_path / "out", tiny_champion)
    with (tmp_path / "out" / "_skipped.csv").open() as file:
        listed = list(csv.DictReader(file))
    assert [one["name"] for one in listed] == ["'=1+2.txt", "deep/er/list.csv", "notes.txt"]
    assert report.skipped == 3
    assert report.counts.rows == 2


@pytest.mark.parametrize("pack", [tar_of, zip_of])
def test_a_damaged_archive_is_a_clear_error(crops, pack, tmp_path, tiny_champion):
    path = pack(crops, tmp_path / ("in.zip" if pack is zip_of else "in.tar"))
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2 + 77])
    with pytest.raises(SourceError, match="is damaged"):
        read(path, tmp_path / "out", tiny_champion)


def test_a_damaged_zip_member_is_a_row(crops, tmp_path, tiny_champion):
    path = zip_of(crops[:3], tmp_path / "in.zip")
    data = bytearray(path.read_bytes())
    start = data.index(crops[1].name.encode()) + len(crops[1].name) + 40
    data[start : start + 20] = bytes(20)
    path.write_bytes(data)
    read(path, tmp_path / "out", tiny_champion)
    rows = rows_of(tmp_path / "out")
    assert "cannot be unpacked" in rows[1]["error"]
    assert [rows[0]["digit"], rows[2]["digit"]] == [crops[0].label, crops[2].label]


def test_a_shard_that_cannot_be_read_leaves_the_others(crops, tmp_path, tiny_champion):
    """The first file's crops are damaged in the middle; its footer is whole."""
    (tmp_path / "in").mkdir()
    for name in ("a", "b"):
        parquet_of(crops, tmp_path / "in" / f"{name}.parquet")
    damaged = tmp_path / "in" / "a.parquet"
    data = bytearray(damaged.read_bytes())
    data[4:4000] = bytes(3996)
    damaged.write_bytes(data)
    done = run_command(
        "read", tmp_path / "in", "--out", tmp_path / "out", "--champion", tiny_champion,
        "--workers", 1, "--shard-rows", 200,
    )  # fmt: skip
    assert done.returncode == 1
    assert "failed: shard 0" in done.stderr
    assert "run the same command again" in done.stderr
    assert [row["digit"] for row in rows_of(tmp_path / "out")] == [crop.label for crop in crops]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["nothing-here", "--out", "x"], "there is nothing at nothing-here"),
        (["contract", "--out", "x"], "neither PNG, JPEG nor Parquet"),
        (["README.md", "--out", "x"], "no Parquet, tar or zip by its name"),
        (["tests/data/crops"], "Give --out"),
        (["tests/data/crops", "--out", "tests/data/crops/below"], "is inside of the source"),
        (
            ["tests/data/crops", "--out", "x", "--days", "yesterday"],
            "which has no days; leave out --days",
        ),
        (["tests/data/crops", "--out", "x", "--days", "soon"], "is not a window"),
        (["ftp://host/x", "--out", "x"], "give a folder or s3://"),
        (["tests/data/crops", "--out", "x", "--champion", "docs"], "manifest.json"),
        (["tests/data/crops", "--out", "x", "--error-target", "1e-9"], "below the lowest"),
    ],
)
def test_a_wrong_command_says_what_to_do(arguments, text, monkeypatch, capsys):
    from bulk.__main__ import main

    monkeypatch.chdir(artifact.CHAMPION.parents[1])
    assert main(["read", *arguments]) == 2
    assert text in capsys.readouterr().err
    assert not (artifact.CHAMPION.parents[1] / "x").exists()


def test_a_file_without_the_column_is_named(crops, tmp_path, tiny_champion):
    (tmp_path / "in").mkdir()
    parquet_of(crops, tmp_path / "in" / "a.parquet")
    pq.write_table(pa.table({"label": [1, 2]}), tmp_path / "in" / "b.parquet")
    with pytest.raises(SourceError, match=r"b\.parquet: which column has the crops"):
        read(tmp_path / "in", tmp_path / "out", tiny_champion)


def test_a_wrong_column_says_which_there_are(crops, tmp_path, tiny_champion):
    path = parquet_of(crops, tmp_path / "in.parquet", column="scan")
    with pytest.raises(SourceError, match=r"no column 'picture'; there are name \(string\), scan"):
        read(path, tmp_path / "out", tiny_champion, crop_column="picture")
    with pytest.raises(SourceError, match="column 'name' is string; give one of PNG"):
        read(path, tmp_path / "out", tiny_champion, crop_column="name")
    assert read(path, tmp_path / "out", tiny_champion).counts.rows == 200
