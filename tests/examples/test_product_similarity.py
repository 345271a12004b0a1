"""The best matches of texts, asked over HTTP: its packages are in a venv of its own."""

import json
import random
import subprocess
import sys

import pytest
from running_example import ROOT, RunningExample, made_champion

from capture.ship import ship_once
from capture.store import open_store

pytestmark = pytest.mark.nightly
PRODUCTS = ["oak dining table", "usb charger 20 W", "garden hose 15 m", "running shoes size 42"]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    running = RunningExample("product_similarity", tmp_path_factory.mktemp("running"))
    try:
        yield running.wait()
    finally:
        running.kill()


def ask(server, content):
    status, body, _ = server.ask("POST", "/v1/matches", json.dumps(content))
    return status, json.loads(body)


def test_each_query_gets_its_best_matches_first(server):
    queries = ["sneakers for a marathon", "wooden desk", "power supply for a phone"]
    status, answers = ask(server, {"products": PRODUCTS, "queries": queries, "matches": 2})
    assert status == 200
    assert [one[0]["product"] for one in answers] == [3, 0, 1]
    for matches in answers:
        assert len(matches) == 2
        assert matches[0]["similarity"] >= matches[1]["similarity"]


def test_a_product_is_most_like_itself_whatever_comes_with_it(server):
    _, alone = ask(server, {"products": PRODUCTS, "queries": PRODUCTS[:1], "matches": 4})
    _, many = ask(server, {"products": PRODUCTS, "queries": [*PRODUCTS, "x" * 2_000]})
    assert alone[0][0] == {"product": 0, "similarity": pytest.approx(1.0, abs=1e-5)}
    assert many[0] == alone[0][:3]


@pytest.mark.parametrize(
    ("content", "status"),
    [
        ([], 400),
        ({"products": PRODUCTS}, 400),
        ({"products": [], "queries": ["a"]}, 400),
        ({"products": PRODUCTS, "queries": ["a"], "matches": 21}, 400),
        ({"products": PRODUCTS, "queries": ["a"], "matches": True}, 400),
        ({"products": ["a"] * 201, "queries": ["a"]}, 400),
        ({"products": ["a", ""], "queries": ["a"]}, 422),
        ({"products": ["a", 1], "queries": ["a"]}, 422),
        ({"products": ["a"], "queries": ["x" * 2_001]}, 422),
    ],
)
def test_a_body_that_cannot_be_used_is_refused(server, content, status):
    assert ask(server, content)[0] == status


def reference_texts():
    """Of the texts that the drift's reference was made of, 600 by chance: the file is sorted."""
    lines = (ROOT / "examples/text_pattern/champion/sample.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    return [f"{row['name']}: {row['description']}" for row in random.Random(0).sample(rows, 600)]


def catalogue():
    """600 things of a clothes shop, of which Debian has no package."""
    kinds = ("shirt", "dress", "skirt", "coat", "scarf", "jeans", "jacket", "socks")
    colours = ("red", "blue", "green", "white", "black", "grey", "pink", "beige", "brown", "violet")
    sizes = ("34", "36", "38", "40", "42", "44", "46", "48")
    return [f"{one} {two} size {size}" for one in colours for two in kinds for size in sizes][:600]


@pytest.mark.parametrize(
    ("texts", "is_moved"), [(reference_texts(), False), (catalogue(), True)], ids=["same", "moved"]
)
def test_products_of_another_kind_are_seen_as_drift_of_their_embeddings(texts, is_moved, tmp_path):
    running = RunningExample(
        "product_similarity",
        tmp_path / "running",
        max_queue_wait_ms=60_000,
        request_deadline_ms=60_000,
    )
    try:
        running.wait()
        for start in range(0, 600, 100):
            products = texts[start : start + 99]
            content = {"products": products, "queries": [texts[start + 99]]}
            assert ask(running, content)[0] == 200
        assert running.stop() == 0
    finally:
        running.kill()
    archive = str(tmp_path / "archive")
    assert ship_once(running.spool, open_store(archive)).num_records == 600
    champion = made_champion("product_similarity")
    places = ["--champion", champion, "--store", archive]
    judged = subprocess.run(
        [sys.executable, "-m", "monitoring.answer_drift", *places],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    moved = [line for line in judged.stdout.splitlines() if line.startswith("feature_cluster_")]
    assert bool(moved) is is_moved, judged.stdout
    assert judged.returncode == 1 or not is_moved
