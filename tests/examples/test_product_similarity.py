"""The best matches of texts, asked over HTTP: its packages are in a venv of its own."""

import json

import pytest
from running_example import RunningExample

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
