"""A refit each month: the split, the snapshot, the gate, who is told; then the service itself."""

import json
import os
import subprocess
from dataclasses import replace

import numpy as np
import pytest
from running_example import ROOT, RunningExample, python_of

from examples.monthly_embeddings import judging, pairs, projection
from examples.monthly_embeddings.emoji_months import month_of, to_pair
from examples.monthly_embeddings.features import Features, Towers, features_of
from examples.monthly_embeddings.notice import Notice, tell
from examples.monthly_embeddings.pairs import DataRefused, Pair
from training.gate_verdict import Verdict, at_least

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
    """Which rows are of the test share, and which are of the last month."""
    rows = np.arange(num_pairs)
    return rows % 5 == 0, rows >= num_pairs - num_new


def shuffled(features, rows):
    texts = features.texts.copy()
    texts[rows] = texts[np.random.default_rng(2).permutation(np.flatnonzero(rows))]
    return replace(features, texts=texts)


@pytest.fixture(scope="module")
def champion():
    features = made_features(600)
    return projection.fit(features.images[:300], features.texts[:300])


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
    is_test, is_new = months_of(600, 100)
    assert judging.refit(made_features(600), is_test, is_new, champion).verdict.passed


def test_a_month_of_shuffled_texts_is_refused(champion):
    is_test, is_new = months_of(600, 100)
    poisoned = shuffled(made_features(600), is_new)
    verdict = judging.refit(poisoned, is_test, is_new, champion).verdict
    assert "chance that the month's texts are shuffled" in [one.name for one in verdict.failures]


@pytest.mark.parametrize("lines", [1, 3])
def test_a_month_whose_lines_are_shifted_is_refused(lines):
    """The file is sorted: neighbours are alike, so that a wrong text still fits a little."""
    is_test, is_new = months_of(600, 100)
    features = made_features(600)
    for column in (features.images, features.texts):
        column[1:] += column[:-1].copy()
    champion = projection.fit(features.images[:300], features.texts[:300])
    texts = features.texts.copy()
    texts[is_new] = np.roll(texts[is_new], lines, axis=0)
    assert judging.refit(features, is_test, is_new, champion).verdict.passed
    shifted = judging.refit(replace(features, texts=texts), is_test, is_new, champion)
    names = [one.name for one in shifted.verdict.failures]
    assert "lead of the month's texts over shifted lines" in names


def test_a_candidate_that_loses_to_the_champion_is_refused(champion):
    """The pairs of the earlier months were shuffled, those of the last one are honest."""
    is_test, is_new = months_of(600, 100)
    spoilt = shuffled(made_features(600), ~is_test & ~is_new)
    verdict = judging.refit(spoilt, is_test, is_new, champion).verdict
    assert any(one.name.startswith("chance of losing") for one in verdict.failures)


def test_a_first_month_of_shuffled_texts_is_refused():
    is_test, is_new = months_of(300, 300)
    poisoned = shuffled(made_features(300), is_new)
    failures = judging.refit(poisoned, is_test, is_new, None).verdict.failures
    assert [one.name for one in failures] == ["recall@5 on the test share"]


def test_a_projection_that_was_written_is_read_back(champion):
    features = made_features(20)
    again = projection.from_bytes(champion.to_bytes())
    assert np.array_equal(again.images(features.images), champion.images(features.images))
    assert np.array_equal(again.texts(features.texts), champion.texts(features.texts))


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


def test_people_are_told_of_a_new_model_and_of_a_refusal(store, tmp_path, monkeypatch):
    sink = tmp_path / "told.jsonl"
    monkeypatch.setenv("DIGITS_ALERTS", f"file:{sink}")
    refitted = judging.Refitted(None, Verdict(()), 0.4, 0.5)
    refused = Verdict((at_least("recall@5 on the test share", 0.1, 0.2),))
    tell(store, Notice("2026-01", "2026-01-abc", "7", refitted, Verdict(())))
    tell(store, Notice("2026-02", "2026-02-abc", None, refitted, refused))
    told = [json.loads(line) for line in sink.read_text().splitlines()]
    assert told[0]["title"] == "Refit of 2026-01: version 7 is the champion"
    assert "the gate refused it; the champion stays" in told[1]["title"]
    assert any("recall@5 on the test share: 0.1" in one for one in told[1]["details"])


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
def test_a_poisoned_month_changes_no_champion_and_is_used_once_it_is_mended(tmp_path):
    told = tmp_path / "told.jsonl"
    surroundings = {
        "PYTHONPATH": str(ROOT),
        "DIGITS_ALERTS": f"file:{told}",
        "MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path}/mlflow.db",
    }
    done = subprocess.run(
        [python_of("monthly_embeddings"), "tests/examples/poisoned_month.py", tmp_path],
        cwd=ROOT, env=os.environ | surroundings, capture_output=True, text=True, timeout=1800,
        check=True,
    )  # fmt: skip
    versions = json.loads(done.stdout.splitlines()[-1])
    assert versions == [["1", month_of(0)], ["1", month_of(0)], ["2", month_of(2)]]
    titles = [json.loads(line)["title"] for line in told.read_text().splitlines()]
    assert [title.partition(": ")[2] for title in titles] == [
        "version 1 is the champion",
        "the gate refused it; the champion stays",
        "version 2 is the champion",
    ]
