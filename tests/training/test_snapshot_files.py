"""A snapshot is stored once, read back as arrays, and refused when it is damaged."""

import numpy as np
import pytest
from made_snapshots import rows_of, write_snapshot

from capture.snapshot_files import encode_rows, read_manifest, sha256, version_of
from capture.store import open_store
from training.data.mnist_files import DataError
from training.snapshots.reading import read


@pytest.fixture
def rows(images):
    pixels = np.rint(images[:40, 0] * 255).astype(np.uint8)
    return rows_of(pixels, np.arange(40) % 10, how="audit", weight=20.0)


def test_what_was_written_is_read_as_arrays(store, rows, images):
    written = write_snapshot(store, "2026-11", rows.slice(0, 32), rows.slice(32))
    found = read(store, "2026-11")
    np.testing.assert_array_equal(found.train.images, np.rint(images[:32, 0] * 255))
    assert found.test.labels.tolist() == [2, 3, 4, 5, 6, 7, 8, 9]
    assert found.train.sites[:3].tolist() == ["bonn-1", "koeln-1", "bonn-1"]
    assert set(found.train.weights) == {20.0}
    assert found.train_ids[1] == "read-00001/0"
    assert found.version == written.version == version_of(found.manifest)
    assert found.manifest["files"]["train"]["counts"]["site"] == {"bonn-1": 16, "koeln-1": 16}


def test_the_same_rows_in_another_order_give_the_same_bytes(rows):
    assert encode_rows(rows.take(list(range(40))[::-1])) == encode_rows(rows)


def test_the_same_content_again_changes_nothing(store, rows):
    first = write_snapshot(store, "2026-11", rows.slice(0, 32), rows.slice(32))
    again = write_snapshot(store, "2026-11", rows.slice(0, 32), rows.slice(32))
    assert (first.is_new, again.is_new, again.version) == (True, False, first.version)


def test_other_content_is_refused_and_the_way_on_named(store, rows):
    write_snapshot(store, "2026-11", rows.slice(0, 32), rows.slice(32))
    before = {key: store.get(key) for key in store.find("")}
    with pytest.raises(DataError, match=r"40 crops.*39 crops.*later --as-of"):
        write_snapshot(store, "2026-11", rows.slice(0, 31), rows.slice(32))
    assert {key: store.get(key) for key in store.find("")} == before


def test_a_missing_month_names_those_that_are_there(store, rows):
    write_snapshot(store, "2026-10", rows.slice(0, 32), rows.slice(32))
    with pytest.raises(DataError, match=r"no snapshot of 2026-11, but: 2026-10"):
        read(store, "2026-11")


def test_a_changed_file_is_refused(tmp_path, rows):
    store = open_store(str(tmp_path))
    write_snapshot(store, "2026-11", rows.slice(0, 32), rows.slice(32))
    manifest = read_manifest(store, "2026-11")
    key = f"snapshots/2026-11/{manifest['files']['train']['name']}"
    data = encode_rows(rows)
    store.put(key, data, content_type="x")
    with pytest.raises(DataError, match=f"damaged.*{sha256(data)}"):
        read(store, "2026-11")
