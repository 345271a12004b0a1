"""An earlier champion comes back whole; folder, log and alias agree after a kill at any point."""

import json
import os
from dataclasses import replace
from functools import partial

import pytest
from killed import run_in_a_child
from test_champion_folder import onnx_bytes, package  # noqa: F401 - fixtures

from capture.store import open_store
from model import artifact
from training import champion_folder, champion_switch, model_store, promotion_log, tracking
from training.model_store import VersionError
from training.steps import promote, rollback


@pytest.fixture(autouse=True)
def alias(tmp_path, monkeypatch):
    """A registry in a file: the alias names the version that the run stands for."""
    path = tmp_path / "alias"
    monkeypatch.setattr(tracking, "connect", lambda: "")
    monkeypatch.setattr(
        tracking, "find_by_run", lambda run_id: tracking.Registered(run_id, run_id, {})
    )
    monkeypatch.setattr(tracking, "set_alias", lambda version, _: path.write_text(version))
    return path


@pytest.fixture
def champions(package, tmp_path):  # noqa: F811
    """Two promotions: the champion folder and the store that keeps both."""
    champion, store = tmp_path / "champion", open_store(str(tmp_path / "store"))
    for version in ("1", "2"):
        origin = replace(package.origin, run_id=version)
        put_in_place(replace(package, version=version, origin=origin), champion, store)
    return champion, store


def put_in_place(package, champion, store):  # noqa: F811
    staged = champion_folder.stage(package, champion)
    model_store.keep(staged, store)
    champion_switch.switch(
        staged, champion, when="now", why="", announce=partial(promote.move_alias, champion)
    )


def roll_back(champions, to_version=None):
    return rollback.run(*champions, to_version=to_version, why="it read 4 as 9")


def test_the_champion_before_this_one_comes_back_with_all_its_files(champions, alias):
    champion = champions[0]
    before = {path.name for path in champion.rglob("*")}
    entry = roll_back(champions)
    assert (entry.from_version, entry.to_version, entry.why) == ("2", "1", "it read 4 as 9")
    assert artifact.load(champion).version == "1"
    assert {path.name for path in champion.rglob("*")} == before
    assert promotion_log.read(champion)[-1] == entry
    assert alias.read_text() == "1"


def test_a_named_version_comes_back_and_version_numbers_go_on(champions):
    champion, _ = champions
    roll_back(champions)
    roll_back(champions, "2")
    assert artifact.load(champion).version == "2"
    assert promotion_log.next_version(champion) == "3"


def test_a_second_rollback_goes_further_back_instead_of_to_and_fro(champions, package):  # noqa: F811
    champion, store = champions
    put_in_place(replace(package, version="3"), champion, store)
    roll_back(champions)
    assert roll_back(champions).to_version == "1"


@pytest.mark.parametrize(
    ("version", "error", "text"),
    [
        ("9", VersionError, r"version 9 is not in .*; kept there: 1, 2"),
        ("2", VersionError, "is the champion already"),
    ],
)
def test_a_version_that_cannot_come_back_is_refused(champions, version, error, text):
    with pytest.raises(error, match=text):
        roll_back(champions, version)
    assert artifact.load(champions[0]).version == "2"


@pytest.mark.parametrize("name", ["model.onnx", "weights.pt"])
def test_a_damaged_version_is_refused(champions, tmp_path, name):
    (tmp_path / "store/1" / name).write_bytes(b"other bytes")
    with pytest.raises(VersionError, match=f"is damaged: {name} has"):
        roll_back(champions)
    assert artifact.load(champions[0]).version == "2"


def test_a_version_is_never_written_over_by_another_model(champions, tmp_path):
    champion, store = champions
    path = champion / "manifest.json"
    path.write_text(path.read_text().replace('"sha256": "', '"sha256": "0'))
    with pytest.raises(VersionError, match=r"version 2 in .* is another model"):
        model_store.keep(champion, store)


def test_the_first_champion_has_none_before_it(champions):
    roll_back(champions)
    with pytest.raises(VersionError, match="no champion before version 1"):
        roll_back(champions)


def test_the_history_shows_rollbacks_and_the_numbers_of_kept_champions(champions):
    roll_back(champions)
    lines = rollback.history(*champions).splitlines()
    assert len(lines) == 5
    assert "| 2 | 1 |" in lines[-1]
    assert "it read 4 as 9" in lines[-1]
    assert "99.80%" in lines[-1]


def test_the_history_names_a_champion_whose_crops_were_erased(champions):
    store = champions[1]
    mark = json.dumps({"retrain_due": True, "since": "2026-12-01T08:00:00Z"}).encode()
    model_store.keep(champions[0], store)
    store.put("2/retrain_due.json", mark, content_type="application/json")
    last = rollback.history(*champions).splitlines()[-1]
    assert last.startswith("version 2: retrain due since 2026-12-01")


def test_a_rollback_killed_at_any_point_leaves_folder_log_and_alias_in_agreement(
    package,  # noqa: F811
    tmp_path,
    alias,
):
    seen = []
    for deadly in range(1, 1000):
        champion, store = tmp_path / str(deadly) / "champion", open_store(str(tmp_path / "store"))
        champion.parent.mkdir()
        for version in ("1", "2"):
            origin = replace(package.origin, run_id=version)
            put_in_place(replace(package, version=version, origin=origin), champion, store)
        status = run_in_a_child(partial(roll_back, (champion, store)), deadly)
        promote.settle(champion)
        served = artifact.load(champion).version
        assert promotion_log.read(champion)[-1].to_version == served
        assert alias.read_text() == served
        left = sorted(path.name for path in champion.parent.iterdir())
        assert left == ["champion", "promotions.jsonl"]
        seen.append(served)
        if not os.WIFSIGNALED(status):
            break  # it was over before the deadly operation
    assert len(seen) > 20
    assert seen == sorted(seen, reverse=True)  # new until one moment, old from then on
    assert set(seen) == {"1", "2"}
