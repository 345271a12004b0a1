"""Bad inputs are rows, foreign files are listed, and a source that is damaged says so."""

import csv
import os
import zipfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from bulk_sources import (
    folder_of,
    framed,
    outcomes_of,
    parquet_of,
    read,
    rows_of,
    run_command,
    tar_of,
    zip_of,
)

from bulk.crop_reading import CropReader
from bulk.inputs import SourceError
from bulk.job import JobRefused
from bulk.local_pool import read_here
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
    reader = CropReader(fragile, loaded.policy())
    outcomes = outcomes_of(reader.read([crop.png for crop in crops[:20]]))
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
    (folder / "gone.png").symlink_to("nowhere.png")
    (folder / "link").symlink_to(folder / "deep")
    (folder / "linked.png").symlink_to(folder / crops[0].name)
    report = read(folder, tmp_path / "out", tiny_champion)
    with (tmp_path / "out" / "_skipped.csv").open() as file:
        listed = list(csv.DictReader(file))
    assert [(one["name"], one["why"]) for one in listed] == [
        ("'=1+2.txt", "no PNG or JPEG by its name"),
        ("deep/er/list.csv", "no PNG or JPEG by its name"),
        ("gone.png", "no regular file"),
        ("link", "a link to a folder"),
        ("notes.txt", "no PNG or JPEG by its name"),
        ("pipe.png", "no regular file"),
    ]
    assert report.skipped == 6
    assert report.counts.rows == 3


def test_a_file_that_changes_after_it_was_listed_is_a_row(crops, tmp_path, tiny_champion):
    """So is one that is gone; one that came later is no input of this job."""
    folder = folder_of(crops[:10], tmp_path / "in")
    cut, other, gone = (folder / crops[place].name for place in (0, 2, 4))

    def meddle(task, shards):
        listed = list(shards)
        cut.write_bytes(cut.read_bytes()[:30])
        other.write_bytes(bytes(len(other.read_bytes())))
        gone.unlink()
        (folder / "zz.png").write_bytes(crops[0].png)
        return read_here(task, iter(listed), 1)

    report = read(folder, tmp_path / "out", tiny_champion, engine=meddle, shard_rows=3)
    rows = {row["name"]: row for row in rows_of(tmp_path / "out")}
    for path in (cut, other):
        assert rows[path.name]["error"].startswith("FileChanged: the file changed after")
    assert rows[gone.name]["error"].startswith("FileNotFoundError")
    assert (report.counts.rows, report.counts.errors) == (10, 3)


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


@pytest.mark.parametrize("packing", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_damaged_member_is_a_row_however_it_is_packed(packing, crops, tmp_path, tiny_champion):
    path = tmp_path / "in.zip"
    with zipfile.ZipFile(path, "w", packing) as packed:
        for crop in crops[:2]:
            packed.writestr(crop.name, crop.png)
    data = bytearray(path.read_bytes())
    data[45:70] = b"\xff" * 25
    path.write_bytes(data)
    read(path, tmp_path / "out", tiny_champion)
    rows = rows_of(tmp_path / "out")
    assert "cannot be unpacked" in rows[0]["error"]
    assert rows[1]["digit"] == crops[1].label


@pytest.mark.parametrize("size", [0, 22])
def test_an_empty_zip_is_a_clear_error(size, tmp_path, tiny_champion):
    zipfile.ZipFile(tmp_path / "in.zip", "w").close()
    os.truncate(tmp_path / "in.zip", size)
    with pytest.raises(SourceError, match=r"in\.zip is damaged or empty"):
        read(tmp_path / "in.zip", tmp_path / "out", tiny_champion)


@pytest.mark.parametrize(
    ("names", "text"),
    [
        ([b"a\xff", b"b"], ["a\\xff", "b"]),
        (pa.array(["a", None]).dictionary_encode(), ["a", "in.parquet#1"]),
        ([[1], [2]], ["in.parquet#0", "in.parquet#1"]),
        ([3, 4], ["3", "4"]),
    ],
    ids=["bytes", "dictionary", "lists", "numbers"],
)
def test_names_of_any_type_cost_no_row(names, text, crops, tmp_path, tiny_champion):
    pq.write_table(
        pa.table({"crop": [one.png for one in crops[:2]], "name": names}), tmp_path / "in.parquet"
    )
    read(tmp_path / "in.parquet", tmp_path / "out", tiny_champion)
    rows = rows_of(tmp_path / "out")
    assert [row["name"] for row in rows] == text
    assert [row["digit"] for row in rows] == [one.label for one in crops[:2]]


@pytest.mark.parametrize(
    "encode", [lambda bytes_: bytes_.dictionary_encode(), lambda bytes_: bytes_.cast("binary_view")]
)
def test_bytes_are_crops_however_they_are_stored(encode, crops, tmp_path, tiny_champion):
    pictures = pa.array([one.png for one in crops[:9]])
    pq.write_table(pa.table({"crop": encode(pictures)}), tmp_path / "in.parquet")
    read(tmp_path / "in.parquet", tmp_path / "out", tiny_champion)
    digits = [row["digit"] for row in rows_of(tmp_path / "out")]
    assert digits == [one.label for one in crops[:9]]


@pytest.mark.parametrize(
    "shape", [pa.list_(pa.uint8(), 784), pa.list_(pa.list_(pa.uint8(), 28), 28)]
)
def test_a_null_among_lists_of_one_size_is_its_rows_error_only(
    shape, crops, tmp_path, tiny_champion
):
    pixels = framed(crops).reshape(200, -1) if shape.list_size == 784 else framed(crops)
    arrays = [None if place in (3, 150) else one.tolist() for place, one in enumerate(pixels)]
    table = pa.table({"crop": pa.array(arrays, shape)})
    pq.write_table(table, tmp_path / "in.parquet", row_group_size=120)
    read(tmp_path / "in.parquet", tmp_path / "out", tiny_champion, shard_rows=70)
    rows = rows_of(tmp_path / "out")
    assert [row["name"] for row in rows] == [f"in.parquet#{row}" for row in range(200)]
    assert [place for place, row in enumerate(rows) if row["error"]] == [3, 150]
    right = [crop.label for place, crop in enumerate(crops) if place not in (3, 150)]
    assert [row["digit"] for row in rows if not row["error"]] == right


def test_two_columns_of_one_name_are_refused(crops, tmp_path, tiny_champion):
    pictures = pa.array([crops[0].png])
    table = pa.Table.from_arrays([pictures, pictures], names=["crop", "crop"])
    pq.write_table(table, tmp_path / "in.parquet")
    with pytest.raises(SourceError, match="several columns are named 'crop'"):
        read(tmp_path / "in.parquet", tmp_path / "out", tiny_champion, crop_column="crop")


def test_names_that_are_no_utf8_stay_apart(crops, tmp_path, tiny_champion):
    (tmp_path / "in").mkdir()
    for name in (b"a\xfe.png", b"a\xff.png", b"new\nline.png"):
        (tmp_path / "in" / os.fsdecode(name)).write_bytes(crops[0].png)
    read(tmp_path / "in", tmp_path / "out", tiny_champion)
    names = [row["name"] for row in rows_of(tmp_path / "out")]
    assert names == ["a\\udcfe.png", "a\\udcff.png", "new\nline.png"]


def test_a_folder_that_may_not_be_read_is_named(crops, tmp_path, monkeypatch, tiny_champion):
    """Its crops would be missing in the answers; root may read all, so the refusal is made."""
    folder = folder_of(crops[:4], tmp_path / "in")
    scandir = os.scandir

    def guarded(path):
        if str(path).endswith("below"):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", guarded)
    with pytest.raises(SourceError, match=r"in/below cannot be listed \(Permission denied\)"):
        read(folder, tmp_path / "out", tiny_champion)


def test_an_output_that_is_a_file_is_refused(crops, tmp_path, tiny_champion):
    folder = folder_of(crops[:2], tmp_path / "in")
    (tmp_path / "out").write_text("mine")
    with pytest.raises(JobRefused, match="is a file; give an empty folder"):
        read(folder, tmp_path / "out", tiny_champion)
    assert (tmp_path / "out").read_text() == "mine"


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
    with pytest.raises(SourceError, match=r"column 'name' is string\. Give --crop-column, one of"):
        read(path, tmp_path / "out", tiny_champion, crop_column="name")
    assert read(path, tmp_path / "out", tiny_champion).counts.rows == 200
