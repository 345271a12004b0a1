from __future__ import annotations

import pytest

from capture.store import KeyTaken, MissingKey, StoreError, open_store


def test_get_returns_what_put_stored(store):
    store.put("a/b.txt", b"one", content_type="text/plain")
    store.put("a/b.txt", b"two", content_type="text/plain")
    assert store.get("a/b.txt") == b"two"


def test_put_new_never_replaces_what_is_there(store):
    store.put_new("a/b.txt", b"one", content_type="text/plain")
    with pytest.raises(KeyTaken, match=r"a/b\.txt exists"):
        store.put_new("a/b.txt", b"two", content_type="text/plain")
    assert store.get("a/b.txt") == b"one"
    assert store.find("") == ["a/b.txt"]


def test_keys_are_found_by_prefix_in_order(store):
    for key in ("x/2", "x/1", "y/3"):
        store.put(key, b"", content_type="text/plain")
    assert store.find("x/") == ["x/1", "x/2"]
    assert store.find("nothing/") == []
    assert store.find("") == ["x/1", "x/2", "y/3"]


def test_a_keys_version_changes_with_its_content_and_only_then(store):
    for key in ("x/1", "x/2"):
        store.put(key, b"a", content_type="text/plain")
    before = store.versions("x/")
    store.put("x/2", b"b", content_type="text/plain")
    after = store.versions("x/")
    assert list(after) == store.find("x/")
    assert after["x/1"] == before["x/1"]
    assert after["x/2"] != before["x/2"]


def test_deleting_leaves_the_neighbours(store):
    for key in ("x/1", "x/2"):
        store.put(key, b"", content_type="text/plain")
    store.delete(["x/1", "x/gone"])
    assert store.find("x/") == ["x/2"]


def test_a_missing_key_raises_missing_key(store):
    with pytest.raises(MissingKey):
        store.get("nowhere")


@pytest.mark.parametrize("place", ["", " "])
def test_an_empty_place_is_refused_as_it_would_be_the_working_directory(place):
    with pytest.raises(ValueError, match="is empty"):
        open_store(place)


def test_another_scheme_is_refused():
    with pytest.raises(ValueError, match="ftp://"):
        open_store("ftp://somewhere/else")


@pytest.mark.parametrize("status", ["500 Internal Server Error", "503 Slow Down"])
def test_a_bucket_that_keeps_refusing_is_an_error(s3, status):
    bucket = open_store("s3://digits")
    s3.start(status)
    with pytest.raises(StoreError, match="cannot write s3://digits/a"):
        bucket.put("a", b"data", content_type="text/plain")


def test_a_bucket_that_refuses_once_is_retried(s3):
    bucket = open_store("s3://digits")
    s3.start("503 Slow Down", left=1)
    bucket.put("a", b"data", content_type="text/plain")
    assert bucket.get("a") == b"data"
    assert s3.num_refused == 1


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StoreError, match="cannot write"):
        open_store(str(tmp_path / "file")).put("a/b", b"", content_type="text/plain")
