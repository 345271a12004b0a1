"""A bulk answer is the service's answer, from every kind of source."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from bulk_sources import folder_of, framed, outcomes_of, parquet_of, read, rows_of, tar_of, zip_of
from numpy.testing import assert_array_equal

from bulk.crop_reading import CropReader
from model import artifact
from model.classifier import Classifier
from model.decision import Decision
from model.decode import decode
from serving.reading.batch_reading import read_batch
from serving.served_model import build_model

NO_PICTURE = b"\x89PNG\r\n\x1a\n but no more"


def hard_crops():
    rng = np.random.default_rng(5)
    noise = rng.integers(0, 256, (90, 70), dtype=np.uint8)
    return [b"", NO_PICTURE, np.full((40, 40), 255, np.uint8), noise, np.full((2, 9), 7, np.uint8)]


def answers_of_the_service(sources):
    """One request each: the service's function, which frames within a time, reads one at once."""
    model = build_model(artifact.load(), None)
    return [read_batch([source], model)[0] for source in sources]


def test_an_answer_is_the_services_to_the_bit(crops):
    sources = [crop.png for crop in crops] + [crop.pixels for crop in crops[:20]] + hard_crops()
    loaded = artifact.load()
    reader = CropReader(Classifier(loaded.onnx_bytes), loaded.policy())
    ours = outcomes_of(reader.read(sources))
    for mine, theirs in zip(ours, answers_of_the_service(sources), strict=True):
        if isinstance(mine, Decision):
            assert mine == theirs.decision
        else:
            assert (type(mine), str(mine)) == (type(theirs), str(theirs))
    kinds = {type(one).__name__ for one in ours}
    assert kinds == {"Decision", "UnsupportedFormat", "UnreadableCrop"}
    assert {one.rejected_because for one in ours if isinstance(one, Decision)} > {None, "blank"}


def test_the_rows_hold_what_the_service_answers(crops, tmp_path):
    folder_of(crops, tmp_path / "in")
    read(tmp_path / "in", tmp_path / "out", artifact.CHAMPION)
    rows = {row["name"].rpartition("/")[2]: row for row in rows_of(tmp_path / "out")}
    readings = answers_of_the_service([crop.png for crop in crops])
    for crop, reading in zip(crops, readings, strict=True):
        decision, row = reading.decision, rows[crop.name]
        assert row["digit"] == decision.digit
        assert row["confidence"] == np.float32(decision.confidence)
        assert (row["accepted"], row["rejected_because"]) == (
            decision.accepted,
            decision.rejected_because,
        )
        assert row["candidates"] == [
            {"digit": digit, "probability": np.float32(decision.probs[digit])}
            for digit in decision.ranking[:5]
        ]
        assert row["model_version"] == artifact.load().version
        assert row["error"] is None


def nested(pixels):
    return pa.array(pixels.tolist(), pa.list_(pa.list_(pa.uint8())))


def flat(pixels):
    return pa.array(list(pixels.reshape(len(pixels), -1)), pa.list_(pa.uint8()))


def fixed(pixels):
    return pa.FixedSizeListArray.from_arrays(pa.array(pixels.reshape(-1)), 784)


def tensor(pixels):
    return pa.FixedShapeTensorArray.from_numpy_ndarray(pixels)


def hugging_face(crops):
    return pa.array([{"bytes": crop.png, "path": crop.name} for crop in crops])


@pytest.mark.parametrize("arrays", [None, nested, flat, fixed, tensor])
def test_parquet_holds_bytes_or_arrays_of_any_kind(crops, arrays, tmp_path, tiny_champion):
    path = parquet_of(crops, tmp_path / "in.parquet", arrays=arrays, row_group_size=30)
    read(path, tmp_path / "out", tiny_champion)
    rows = rows_of(tmp_path / "out")
    assert [row["name"] for row in rows] == [crop.name for crop in crops]
    assert [row["digit"] for row in rows] == [crop.label for crop in crops]


def test_a_struct_with_bytes_is_a_crop(crops, tmp_path, tiny_champion):
    table = pa.table({"image": hugging_face(crops), "label": [crop.label for crop in crops]})
    pq.write_table(table, tmp_path / "in.parquet")
    read(tmp_path / "in.parquet", tmp_path / "out", tiny_champion)
    rows = rows_of(tmp_path / "out")
    assert [row["digit"] for row in rows] == [crop.label for crop in crops]
    assert rows[7]["name"] == "in.parquet#7"


@pytest.mark.parametrize(
    "pack",
    [
        lambda crops, path: folder_of(crops, path / "in"),
        lambda crops, path: tar_of(crops, path / "in.tar"),
        lambda crops, path: tar_of(crops, path / "in.tar.gz", "w:gz"),
        lambda crops, path: zip_of(crops, path / "in.zip"),
        lambda crops, path: parquet_of(crops, path / "in.parquet"),
    ],
    ids=["folder", "tar", "tar.gz", "zip", "parquet"],
)
def test_each_input_of_each_kind_has_one_row(crops, pack, tmp_path, tiny_champion):
    source = pack(crops, tmp_path)
    report = read(source, tmp_path / "out", tiny_champion)
    labels = {crop.name: crop.label for crop in crops}
    found = [(row["name"].rpartition("/")[2], row["digit"]) for row in rows_of(tmp_path / "out")]
    assert sorted(found) == sorted(labels.items())
    assert report.counts.rows == report.inputs == 200
    assert report.shards == 4


def test_rows_are_in_the_same_order_in_every_run(crops, tmp_path, tiny_champion):
    folder_of(crops, tmp_path / "in")
    for out in ("one", "two"):
        read(tmp_path / "in", tmp_path / out, tiny_champion)
    one, two = (
        {path.name: path.read_bytes() for path in sorted((tmp_path / out).glob("part-*"))}
        for out in ("one", "two")
    )
    assert one == two


def test_inputs_are_kept_if_asked(crops, tmp_path, tiny_champion):
    tar = tar_of(crops[:3], tmp_path / "in.tar")
    read(tar, tmp_path / "out", tiny_champion, keep_input=True)
    assert [row["input"] for row in rows_of(tmp_path / "out")] == [one.png for one in crops[:3]]
    path = parquet_of(crops[:3], tmp_path / "in.parquet", arrays=tensor)
    read(path, tmp_path / "pixels", tiny_champion, keep_input=True)
    kept = [decode(row["input"]) for row in rows_of(tmp_path / "pixels")]
    assert_array_equal(kept, framed(crops[:3]))
