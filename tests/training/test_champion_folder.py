import json
import os
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from killed import run_in_a_child
from test_gate_rules import a_set, a_threshold
from tiny import TinyNetwork, draw_digits

from model import artifact
from model.errors import ArtifactRefused
from training import champion_folder, champion_switch, promotion_log
from training.evaluation.card import write_card
from training.evaluation.harm import HarmResult
from training.evaluation.judge import Evaluation, Judged
from training.onnx_export import export
from training.quantization import Latency, QuantisationChange

SIZES = {"1": 80.0, "8": 66.0, "32": 64.0}


@pytest.fixture(scope="module")
def onnx_bytes(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "model.onnx"
    images = draw_digits(8, seed=1).images[:, None] / np.float32(255)
    export(TinyNetwork().eval(), images, path)
    return path.read_bytes()


@pytest.fixture
def package(onnx_bytes):
    change = QuantisationChange(0.9965, 0.996, 0.0004, 0.001, 0.05)
    return champion_folder.Package(
        onnx_bytes=onnx_bytes,
        version="1",
        evaluation=Evaluation(
            sets={"mnist": a_set(), "rendered": a_set(0.985)},
            corruptions={"blur": {"3": 0.99}},
            mean_corruption_accuracy=0.99,
            temperature=0.8,
            thresholds=(a_threshold(0.0005, 0.95), a_threshold(0.001, 0.9)),
            garbage_threshold=1.5,
            garbage=None,
            harm=(
                HarmResult("cut_half", 1, True, 100, num_accepted=2, num_wrong=1),
                HarmResult("cut_half", 2, True, 100, num_accepted=4, num_wrong=3),
            ),
            judged=Judged("candidate", None, ("arial", "lato"), ("verdana",), {}),
            quantisation=change,
            rendered_quantisation=change,
            latency=Latency(SIZES, SIZES),
            size_bytes=len(onnx_bytes),
            fp32_size_bytes=len(onnx_bytes),
        ),
        origin=champion_folder.Origin(
            run_id="abc",
            git_commit="0" * 40,
            network="tiny",
            created="2026-11-21T10:00:00Z",
            data={"train-images-idx3-ubyte": "md5:0"},
            libraries={"torch": "2"},
            num_crops=1000,
            num_epochs=2,
            warm_start="0123456789abcdef",
        ),
        golden=champion_folder.Golden(b"png", 7, 0.9),
        weights=b"fp32",
        extra_files={"card/confusion.png": b"picture"},
    )


def do_promote(package, champion):
    alias = partial(note_alias, champion)
    champion_switch.recover(champion, alias)
    staged = champion_folder.stage(package, champion)
    return champion_switch.switch(
        staged, champion, when="2026-11-21T10:00:00Z", why="a test", announce=alias
    )


def note_alias(champion, entry):
    """Stands for the registry: a file with the version that its alias names."""
    champion.with_name("alias").write_text(entry.to_version)


def test_a_promoted_folder_is_one_that_serving_accepts(package, tmp_path):
    do_promote(package, tmp_path / "champion")
    loaded = artifact.load(tmp_path / "champion")
    assert loaded.onnx_bytes == package.onnx_bytes
    assert loaded.policy().threshold == 0.9
    assert loaded.policy(0.0007).threshold == 0.95
    assert loaded.policy().temperature == 0.8
    assert loaded.manifest["metrics"]["harm_seen_cut_half"] == 0.02
    assert (tmp_path / "champion" / "card" / "confusion.png").read_bytes() == b"picture"


def test_the_log_says_who_when_from_to_and_why(package, tmp_path, monkeypatch):
    monkeypatch.setenv("DIGITS_PROMOTED_BY", "retraining job")
    do_promote(package, tmp_path / "champion")
    do_promote(replace(package, version="2"), tmp_path / "champion")
    lines = (tmp_path / "promotions.jsonl").read_text().splitlines()
    first, second = (json.loads(line) for line in lines)
    assert (first["from_version"], first["to_version"]) == (None, "1")
    assert (second["from_version"], second["to_version"]) == ("1", "2")
    assert second["who"] == "retraining job"
    assert (second["when"], second["why"]) == ("2026-11-21T10:00:00Z", "a test")


def test_versions_count_upwards(package, tmp_path):
    assert promotion_log.next_version(tmp_path / "champion") == "1"
    do_promote(replace(package, version="41"), tmp_path / "champion")
    assert promotion_log.next_version(tmp_path / "champion") == "42"
    do_promote(replace(package, version="7"), tmp_path / "champion")  # a rollback
    assert promotion_log.next_version(tmp_path / "champion") == "42"


def test_a_line_of_the_log_that_a_power_cut_tore_is_left_out(package, tmp_path):
    champion = tmp_path / "champion"
    do_promote(package, champion)
    with (tmp_path / "promotions.jsonl").open("a") as file:
        file.write('{"when": "2026')
    do_promote(replace(package, version="2"), champion)
    assert [entry.to_version for entry in promotion_log.read(champion)] == ["1", "2"]


def test_a_package_that_would_not_be_served_changes_nothing(package, tmp_path):
    champion = tmp_path / "champion"
    do_promote(package, champion)
    with pytest.raises(ArtifactRefused):
        do_promote(replace(package, version="2", onnx_bytes=b"no model"), champion)
    assert artifact.load(champion).version == "1"


def test_a_promotion_killed_at_any_point_leaves_a_whole_champion(package, tmp_path):
    seen = []
    for deadly in range(1, 1000):
        champion = prepared(package, tmp_path / str(deadly))
        second = replace(package, version="2")
        status = run_in_a_child(partial(do_promote, second, champion), deadly)
        seen.append(artifact.load(champion).version)  # raises when it is not whole
        if not os.WIFSIGNALED(status):
            break  # it was over before the deadly operation
        champion_switch.recover(champion, partial(note_alias, champion))
        assert promotion_log.read(champion)[-1].to_version == seen[-1]
        assert champion.with_name("alias").read_text() == seen[-1]
        do_promote(replace(package, version="3"), champion)
        assert artifact.load(champion).version == "3"
        left = sorted(path.name for path in champion.parent.iterdir())
        assert left == ["alias", "champion", "promotions.jsonl"]
    assert len(seen) > 20
    assert set(seen) == {"1", "2"}
    assert seen == sorted(seen)  # old until one moment, new from then on


def prepared(package, folder: Path) -> Path:
    folder.mkdir()
    do_promote(package, folder / "champion")
    return folder / "champion"


def test_two_renames_do_where_the_kernel_cannot_exchange_folders(package, tmp_path, monkeypatch):
    monkeypatch.setattr(champion_switch, "_exchange", lambda first, second: False)
    champion = prepared(package, tmp_path / "folder")
    do_promote(replace(package, version="2"), champion)
    assert artifact.load(champion).version == "2"
    assert sorted(path.name for path in champion.parent.iterdir()) == [
        "alias",
        "champion",
        "promotions.jsonl",
    ]


def test_a_promotion_killed_between_two_renames_leaves_the_old_champion_to_the_next(
    package, tmp_path, monkeypatch
):
    monkeypatch.setattr(champion_switch, "_exchange", lambda first, second: False)
    champion = prepared(package, tmp_path / "folder")
    champion.rename(champion.with_name(".champion.replaced"))  # what the first rename does
    champion_switch.recover(champion)
    assert artifact.load(champion).version == "1"
    assert do_promote(replace(package, version="2"), champion).from_version == "1"
    left = sorted(path.name for path in champion.parent.iterdir())
    assert left == ["alias", "champion", "promotions.jsonl"]


def test_the_card_shows_the_numbers_of_the_evaluation(package):
    card = write_card("5", package.origin, package.evaluation)
    assert "version 5" in card
    assert "| MNIST test, raw 28x28 | 10,000 | 99.80% |" in card
    assert "card/confusion.png" in card
    assert "| 4 of 9,900, 0.011% to 0.103% |" in card
    assert "| 0.10% | 0.9000 | 98.00% | 4 of 9,800 | 0.082% |" in card
    assert "With 90% confidence" in card
    assert "| cut half | yes | 3.0% | 2.00% |" in card
    assert "2 font families (another 1 are held out)" in card


def test_card_and_manifest_say_what_the_fit_went_on_from(package, tmp_path):
    card = write_card("1", package.origin, package.evaluation)
    assert "1,000 crops" in card
    assert "2 epochs, from the weights `0123456789ab` of an earlier fit" in card
    fresh = replace(package.origin, warm_start=None)
    assert "2 epochs, from fresh weights" in write_card("1", fresh, package.evaluation)
    averaged = replace(package.origin, averaged=("abc", "def"))
    assert "the mean of the runs abc, def" in write_card("1", averaged, package.evaluation)
    champion_switch.write(champion_folder.pack(package), tmp_path / "packed")
    manifest = json.loads((tmp_path / "packed/manifest.json").read_text())
    assert manifest["fit"]["warm_start"] == "0123456789abcdef"


def test_an_evaluation_is_the_same_when_read_from_its_file(package, tmp_path):
    from training.config import Workspace
    from training.steps.files import load_evaluation

    work = Workspace(tmp_path)
    work.evaluation.write_text(json.dumps(asdict(package.evaluation)))
    assert load_evaluation(work) == package.evaluation
