"""Erasing a read reaches snapshots and champions, and says so."""

import json

import pytest
from labelled_mail import capture, label, read_id

from capture.erasure import erase_from_archive
from capture.snapshot_erasure import erase_from_snapshots, mark_champions, of_reads, retrain_due
from capture.snapshot_files import read_manifest
from capture.store import StoreError, open_store
from monitoring.__main__ import main as monitoring
from training.__main__ import main as training
from training.snapshots.building import build
from training.snapshots.reading import read

NUM = 40


@pytest.fixture
def archive(tmp_path):
    store = open_store(str(tmp_path / "archive"))
    for month in ("2026-10", "2026-11"):
        capture(store, tmp_path, month, NUM)
        label(store, month, range(NUM))
    return store


@pytest.fixture
def data(tmp_path, archive):
    store = open_store(str(tmp_path / "data"))
    for month in ("2026-10", "2026-11"):
        build(archive, store, month, git_commit="c0ffee")
    return store


@pytest.fixture
def trained(data):
    """The read of the first training crop of October."""
    return read(data, "2026-10").train_ids[0].rpartition("/")[0]


@pytest.fixture
def models(tmp_path, data):
    """Three champions: one without mail, one of October's and one of November's data."""
    store = open_store(str(tmp_path / "models"))
    for version, month in (("1", None), ("2", "2026-10"), ("3", "2026-11")):
        known = {"mail": read(data, month).version} if month else {}
        manifest = {"version": version, "data": known, "metrics": {}}
        store.put(f"{version}/manifest.json", json.dumps(manifest).encode(), content_type="x")
    return store


@pytest.fixture
def champion(tmp_path, models):
    folder = tmp_path / "champion"
    folder.mkdir()
    (folder / "manifest.json").write_bytes(models.get("3/manifest.json"))
    return folder


def erase(read, archive, data, models, champion, tmp_path):
    options = [] if champion is None else ["--champion", str(champion)]
    return monitoring(
        [
            "erase",
            read,
            "--spool",
            str(tmp_path / "spool"),
            "--store",
            archive.url,
            "--reports",
            str(tmp_path / "reports"),
            "--data-store",
            data.url,
            "--model-store",
            models.url,
            *options,
        ]
    )


def test_every_snapshot_with_the_read_is_rewritten_and_the_manifest_says_so(data, trained):
    before = {month: read(data, month) for month in ("2026-10", "2026-11")}
    rewritten = erase_from_snapshots(data, of_reads([trained]))
    assert [one.as_of for one in rewritten] == ["2026-10", "2026-11"]
    for month, old in before.items():
        found = read(data, month)
        assert f"{trained}/0" not in found.train_ids
        assert len(found.train) == len(old.train) - 1
        assert found.test_ids.tolist() == old.test_ids.tolist()
        (note,) = found.manifest["rewritten"]
        assert note["from_sha256"] == old.manifest["files"]["train"]["sha256"]
        assert note["to_sha256"] == found.manifest["files"]["train"]["sha256"]
        assert note["from_version"] == old.version != found.version
        assert found.manifest["files"]["train"]["rows"] == len(found.train)
        assert found.manifest["rows"] == len(found.train) + len(found.test)


def test_no_file_has_the_read_afterwards(data, trained):
    before = {key: data.get(key) for key in data.find("")}
    erase_from_snapshots(data, of_reads([trained]))
    assert set(before.values()).isdisjoint(
        data.get(key) for key in data.find("") if "train" in key or "manifest" in key
    )
    assert len(data.find("")) == len(before)


def test_a_read_of_november_leaves_october_alone(data):
    before = read_manifest(data, "2026-10")
    rewritten = erase_from_snapshots(data, of_reads([read_id("2026-11", 3)]))
    assert [one.as_of for one in rewritten] == ["2026-11"]
    assert read_manifest(data, "2026-10") == before


def test_the_month_can_be_built_again_after_an_erasure(archive, data, models, trained, tmp_path):
    erase(trained, archive, data, models, tmp_path / "none", tmp_path)
    assert not build(archive, data, "2026-11", git_commit="other").is_new


def test_no_training_crop_moves_to_the_test_share_when_test_crops_are_erased(archive, data):
    before = read(data, "2026-10")
    reads = [name.rpartition("/")[0] for name in before.test_ids[:6]]
    for one in reads:
        erase_from_archive(archive, one)
    erase_from_snapshots(data, of_reads(reads))
    assert not build(archive, data, "2026-10", git_commit="other").is_new
    assert read(data, "2026-10").train_ids.tolist() == before.train_ids.tolist()


def test_erase_lists_snapshots_and_champions_and_marks_these(
    archive, data, models, champion, trained, tmp_path, capsys
):
    assert erase(trained, archive, data, models, champion, tmp_path) == 0
    text = capsys.readouterr().out
    assert text.count("is now 2026-") == 2
    assert "champion 2 was trained on it and is marked: retrain due" in text
    assert "champion 3 was trained on it" in text
    assert "champion 1" not in text
    assert [retrain_due(models, version) is None for version in "123"] == [True, False, False]
    assert json.loads((champion / "retrain_due.json").read_text())["retrain_due"] is True


def test_erase_marks_the_champion_that_the_service_has(
    archive, data, models, champion, trained, tmp_path, monkeypatch
):
    monkeypatch.setenv("DIGITS_CHAMPION", str(champion))
    assert erase(trained, archive, data, models, None, tmp_path) == 0
    assert json.loads((champion / "retrain_due.json").read_text())["retrain_due"] is True


def test_a_champion_that_cannot_be_marked_is_told_and_fails_the_command(
    archive, data, models, champion, trained, tmp_path, capsys
):
    (champion / "retrain_due.json").mkdir()  # as where the folder is mounted read-only
    assert erase(trained, archive, data, models, champion, tmp_path) == 1
    said = capsys.readouterr()
    assert said.out.count("is now 2026-") == 2
    assert "retrain without it: python -m training retrain --force" in said.err


def test_a_read_of_the_test_share_marks_no_champion(data, models, champion):
    tested = read(data, "2026-10").test_ids[0].rpartition("/")[0]
    rewritten = erase_from_snapshots(data, of_reads([tested]))
    assert rewritten[0].num_removed == {"train": 0, "test": 1}
    assert mark_champions(models, champion, rewritten, when="now") == []


def test_a_kill_before_the_manifest_leaves_the_old_snapshot_and_erasing_again_ends_it(
    data, trained, monkeypatch
):
    old = read(data, "2026-10")
    put = type(data).put

    def fails(self, key, content, *, content_type):
        if key.endswith("manifest.json"):
            raise StoreError("killed")
        put(self, key, content, content_type=content_type)

    with monkeypatch.context() as patch:
        patch.setattr(type(data), "put", fails)
        with pytest.raises(StoreError):
            erase_from_snapshots(data, of_reads([trained]))
    assert read(data, "2026-10").version == old.version
    erase_from_snapshots(data, of_reads([trained]))
    assert f"{trained}/0" not in read(data, "2026-10").train_ids


def test_a_kill_after_the_manifest_leaves_no_crop_once_erased_again(data, trained, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(type(data), "delete", lambda self, keys: None)
        erase_from_snapshots(data, of_reads([trained]))
    assert len(data.find("")) == 8
    erase_from_snapshots(data, of_reads([trained]))
    assert len(data.find("")) == 6


def test_an_added_set_is_erased_from_the_snapshots_too(
    archive, tmp_path, crops, capsys, champion, models
):
    data = open_store(str(tmp_path / "other"))
    folder = tmp_path / "mine" / str(crops[0].label)
    folder.mkdir(parents=True)
    (folder / "a.png").write_bytes(crops[0].png)
    options = ["--data-store", data.url]
    assert training(["data", "add", str(tmp_path / "mine"), "--name", "mine", *options]) == 0
    build(archive, data, "2099-01", git_commit="c0ffee")
    assert "mine" in read(data, "2099-01").train.sources
    more = ["--model-store", models.url, "--champion", str(champion)]
    assert training(["data", "remove", "mine", *options, *more]) == 0
    assert "mine" not in read(data, "2099-01").train.sources
    assert data.find("added/") == []
    assert training(["data", "remove", "mine", *options, *more]) == 2
    assert "no set is called 'mine'" in capsys.readouterr().err
