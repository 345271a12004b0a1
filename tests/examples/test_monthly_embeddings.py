"""A refit each month: the split, the snapshot, the gate, who is told; then the service itself."""

import json
import os
import subprocess
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest
from running_example import ROOT, RunningExample, python_of

from examples.monthly_embeddings import judging, pairs, projection
from examples.monthly_embeddings.emoji_months import month_of, to_pair
from examples.monthly_embeddings.features import Features, Towers, features_of
from examples.monthly_embeddings.judging import Champion
from examples.monthly_embeddings.pairs import DataRefused, Pair

NUM_FEATURES = {"images": 40, "texts": 16}


def made_features(num_pairs):
    """Pictures whose features have, with noise, what their texts say."""
    rng = np.random.default_rng(1)
    meaning = rng.normal(size=(num_pairs, 8))
    image_of, text_of = (rng.normal(size=(8, size)) for size in NUM_FEATURES.values())
    images = meaning @ image_of + 3 * rng.normal(size=(num_pairs, NUM_FEATURES["images"]))
    texts = meaning @ text_of + 2 * rng.normal(size=(num_pairs, NUM_FEATURES["texts"]))
    return Features(images.astype(np.float32), projection.to_unit(texts))


def months_of(num_pairs, num_new):
    """Which rows are of the test share, and in which month each arrived."""
    rows = np.arange(num_pairs)
    return rows % 5 == 0, ["2026-05"] * (num_pairs - num_new) + ["2026-06"] * num_new


def is_new(months):
    return np.array(months) == "2026-06"


def judged(features, is_test, months, champion):
    """The verdict on a fit of all but the test share."""
    fitted = projection.fit(features.images[~is_test], features.texts[~is_test])
    return judging.judge(fitted, features, is_test, months, champion).verdict


def shuffled(features, rows):
    texts = features.texts.copy()
    texts[rows] = texts[np.random.default_rng(2).permutation(np.flatnonzero(rows))]
    return replace(features, texts=texts)


@pytest.fixture(scope="module")
def champion():
    features = made_features(600)
    return Champion("2026-05", projection.fit(features.images[:300], features.texts[:300]))


def test_recall_grows_with_the_pairs():
    features = made_features(600)
    is_test = months_of(600, 0)[0]
    recalls = []
    for num in (30, 120, 600):
        rows = ~is_test & (np.arange(600) < num)
        fitted = projection.fit(features.images[rows], features.texts[rows])
        recalls.append(judging.recall(fitted, features, is_test))
    assert recalls[0] < recalls[1] < recalls[2]


def test_an_honest_month_passes_the_gate(champion):
    is_test, months = months_of(600, 100)
    assert judged(made_features(600), is_test, months, champion).passed


def test_a_month_of_shuffled_texts_is_refused(champion):
    is_test, months = months_of(600, 100)
    poisoned = shuffled(made_features(600), is_new(months))
    verdict = judged(poisoned, is_test, months, champion)
    names = [one.name for one in verdict.failures]
    assert "chance that the texts of 2026-06 are shuffled" in names


def test_a_refused_month_that_nobody_mended_is_refused_with_the_next(champion):
    """The champion has not seen it, however many honest pairs came since."""
    is_test, months = months_of(600, 100)
    poisoned = shuffled(made_features(600), is_new(months))
    later = ["2026-07" if row < 400 else month for row, month in enumerate(months)]
    names = [one.name for one in judged(poisoned, is_test, later, champion).failures]
    assert "chance that the texts of 2026-06 are shuffled" in names
    assert not any("2026-07" in name for name in names)


@pytest.mark.parametrize("lines", [1, 3])
def test_a_month_whose_lines_are_shifted_is_refused(lines):
    """The file is sorted: neighbours are alike, so that a wrong text still fits a little."""
    is_test, months = months_of(600, 100)
    features = made_features(600)
    for column in (features.images, features.texts):
        column[1:] += column[:-1].copy()
    fitted = projection.fit(features.images[:300], features.texts[:300])
    champion = Champion("2026-05", fitted)
    rows, texts = is_new(months), features.texts.copy()
    texts[rows] = np.roll(texts[rows], lines, axis=0)
    assert judged(features, is_test, months, champion).passed
    shifted = judged(replace(features, texts=texts), is_test, months, champion)
    names = [one.name for one in shifted.failures]
    assert "lead of the texts of 2026-06 over shifted lines" in names


def test_a_candidate_that_loses_to_the_champion_is_refused(champion):
    """The pairs of the earlier months were shuffled, those of the last one are honest."""
    is_test, months = months_of(600, 100)
    spoilt = shuffled(made_features(600), ~is_test & ~is_new(months))
    verdict = judged(spoilt, is_test, months, champion)
    assert any(one.name.startswith("chance of losing") for one in verdict.failures)


def test_a_first_month_of_shuffled_texts_is_refused():
    is_test, months = months_of(300, 300)
    failures = judged(shuffled(made_features(300), is_new(months)), is_test, months, None).failures
    assert [one.name for one in failures] == ["recall@5 on the test share"]


def test_a_projection_that_was_written_is_read_back(champion):
    features = made_features(20)
    fitted = champion.projection
    again = projection.from_bytes(fitted.to_bytes())
    assert np.array_equal(again.images(features.images), fitted.images(features.images))
    assert np.array_equal(again.texts(features.texts), fitted.texts(features.texts))


def pair(text, image=b"picture"):
    return Pair(text, text, text, image)


@pytest.fixture
def store(store):
    """Two months, in a folder and in a bucket."""
    pairs.put(store, "2026-01", [pair("a"), pair("b")])
    pairs.put(store, "2026-02", [pair("c")])
    return store


def test_a_snapshot_has_what_arrived_until_the_end_of_its_month(store):
    assert [one.text for one in pairs.snapshot(store, "2026-01").pairs] == ["a", "b"]
    assert [one.text for one in pairs.snapshot(store, "2026-02").pairs] == ["a", "b", "c"]


def test_a_snapshot_never_changes_and_what_was_mended_is_in_the_next(store):
    version = pairs.snapshot(store, "2026-01").version
    assert pairs.snapshot(store, "2026-01").version == version
    pairs.put(store, "2026-01", [pair("a"), pair("mended")])
    with pytest.raises(DataRefused, match="never changed"):
        pairs.snapshot(store, "2026-01")
    assert [one.text for one in pairs.snapshot(store, "2026-02").pairs] == ["a", "mended", "c"]


def test_a_pair_without_a_text_is_refused_by_its_place(store):
    pairs.put(store, "2026-02", [pair("c"), replace(pair("d"), text="")])
    with pytest.raises(DataRefused, match="row 1 has no text"):
        pairs.snapshot(store, "2026-02")


def test_a_month_is_embedded_once(store):
    asked = []

    def texts(found):
        asked.extend(found)
        return np.ones((len(found), 2), np.float32)

    towers = Towers("made", lambda files: np.ones((len(files), 3), np.float32), texts)
    months = pairs.arrived(store, "2026-02")
    assert features_of(months[:1], towers, store).images.shape == (2, 3)
    assert features_of(months, towers, store).texts.shape == (3, 2)
    assert asked == ["a", "b", "c"]


def test_pairs_of_a_month_that_still_runs_are_not_counted(store):
    assert pairs.num_before(store, datetime(2026, 2, 1, tzinfo=UTC)) == 2
    assert pairs.num_before(store, datetime(2026, 3, 1, tzinfo=UTC)) == 3


def test_an_emoji_and_its_variants_are_of_one_group():
    names = ("MAN SURFING", "WOMAN SURFING")
    rows = [{"name": name, "unified": "1F3C4-200D-2642-FE0F"} for name in names]
    man, woman = (to_pair(row, b"") for row in rows)
    assert man.group == woman.group == "surfing"
    assert (man.text, man.name) == ("man surfing", "\U0001f3c4\u200d\u2642\ufe0f")
    assert (month_of(0), month_of(15)) == ("2025-08", "2026-11")


@pytest.mark.nightly
def test_each_month_has_made_a_model_and_texts_find_their_pictures(tmp_path):
    server = RunningExample("monthly_embeddings", tmp_path / "running")
    try:
        server.wait()
        status, body, _ = server.ask(
            "POST", "/v1/pictures", json.dumps({"texts": ["pizza", "a cat"], "matches": 3})
        )
        assert status == 200
        pizza, cat = json.loads(body)
        assert "\U0001f355" in [one["name"] for one in pizza]
        assert "\U0001f408" in [one["name"] for one in cat]
        served = json.loads(server.ask("GET", "/v1/model")[1])
        bad = [{}, {"texts": []}, {"texts": ["a"], "matches": 0}]
        refused = [server.ask("POST", "/v1/pictures", json.dumps(one))[0] for one in bad]
        assert refused == [400, 400, 400]
        assert server.ask("POST", "/v1/pictures", json.dumps({"texts": [""]}))[0] == 422
    finally:
        server.kill()
    assert served["month"] == month_of(15)


@pytest.mark.nightly
@pytest.mark.parametrize("where", ["folder", "s3"])
def test_a_poisoned_month_changes_no_champion_and_a_killed_one_goes_on(tmp_path, where, request):
    told = tmp_path / "told.jsonl"
    surroundings = {
        "PYTHONPATH": str(ROOT),
        "DIGITS_ALERTS": f"file:{told}",
        "MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path}/mlflow.db",
    }
    data = str(tmp_path / "data")
    if where == "s3":
        request.getfixturevalue("s3")
        data = "s3://digits/pairs"
    done = subprocess.run(
        [python_of("monthly_embeddings"), "tests/examples/poisoned_month.py", tmp_path, data],
        cwd=ROOT, env=os.environ | surroundings, capture_output=True, text=True, timeout=1800,
        check=True,
    )  # fmt: skip
    versions = json.loads(done.stdout.splitlines()[-1])
    assert versions == [
        ["1", month_of(0)], ["1", month_of(0)], ["1", month_of(0)], ["2", month_of(2)],
        ["2", month_of(2)],
    ]  # fmt: skip
    assert done.stdout.count("== fit\n") == 3
    assert "== export: done at" in done.stdout
    titles = [json.loads(line)["title"] for line in told.read_text().splitlines()]
    assert titles == [
        f"Refit of {month_of(0)}: version 1 is the champion",
        f"Refit of {month_of(1)}: the gate refused it; the champion stays",
        f"Retraining as of {month_of(2)} failed",
        f"Refit of {month_of(2)}: version 2 is the champion",
        f"Retraining as of {month_of(2)} ended well",
    ]
