import io

import numpy as np
import pytest
from PIL import Image

from training.data.extra import load_extra
from training.data.mnist_files import DataError


def save(path, size=(12, 20)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", size, 200).save(path)


def test_a_folder_of_pictures_per_label_is_read(tmp_path):
    save(tmp_path / "3" / "a.png")
    save(tmp_path / "7" / "b.jpg", size=(30, 40))
    (tmp_path / "7" / "notes.txt").write_text("no crop")
    crops, labels = load_extra(tmp_path)
    assert [crop.shape for crop in crops] == [(20, 12), (40, 30)]
    assert labels.tolist() == [3, 7]


@pytest.mark.parametrize("scale", [1, 255], ids=["float", "uint8"])
def test_an_npz_file_is_read(tmp_path, scale):
    images = np.ones((4, 8, 8)) if scale == 1 else np.full((4, 8, 8), 255, np.uint8)
    np.savez(tmp_path / "own.npz", images=images, labels=np.arange(4))
    crops, labels = load_extra(tmp_path / "own.npz")
    assert all((crop == 255).all() and crop.dtype == np.uint8 for crop in crops)
    assert labels.tolist() == [0, 1, 2, 3]


def write_npz(path, **arrays):
    np.savez(path, **arrays)
    return path


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda folder: folder / "nowhere", "neither a folder"),
        (lambda folder: folder, "no PNG or JPEG file"),
        (
            lambda folder: write_npz(folder / "a.npz", images=np.zeros((2, 8, 8))),
            "no `images` and `labels`",
        ),
        (
            lambda folder: write_npz(
                folder / "b.npz", images=np.zeros((2, 8, 8)), labels=np.zeros(3)
            ),
            "do not fit",
        ),
        (
            lambda folder: write_npz(
                folder / "c.npz", images=np.zeros((1, 8, 8)), labels=np.array([12])
            ),
            "labels must be 0 to 9",
        ),
    ],
)
def test_what_cannot_be_used_is_refused_with_a_reason(tmp_path, make, message):
    with pytest.raises(DataError, match=message):
        load_extra(make(tmp_path))


def test_a_damaged_file_is_named(tmp_path):
    whole = io.BytesIO()
    Image.new("L", (20, 20)).save(whole, "PNG")
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "cut.png").write_bytes(whole.getvalue()[:40])
    with pytest.raises(DataError, match=r"cut\.png"):
        load_extra(tmp_path)
