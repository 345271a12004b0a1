"""A class from product text: the served answers are the prototype's, and drift is seen."""

import io
import json
from pathlib import Path

import pandas as pd
import pytest
from running_example import RunningExample

from capture.answer_record import AnswerRecord
from capture.answer_rows import to_table
from examples.text_pattern.debian_index import to_rows
from examples.text_pattern.product_text import Product, to_text
from examples.text_pattern.service import parse
from monitoring.answer_drift import judge_answers, to_reference
from serving.problems import Problem

CHAMPION = Path(__file__).parents[2] / "examples" / "text_pattern" / "champion"
GOOD = {"name": "a", "description": "b"}


@pytest.fixture(scope="module")
def sample():
    return [json.loads(line) for line in (CHAMPION / "sample.jsonl").read_text().splitlines()]


def test_the_text_has_lower_case_words_only():
    product = Product("libFoo-dev", "C++ Bibliothek für  ÄÖÜ")
    assert to_text(product) == "libfoo dev c bibliothek f r"


def test_packages_of_one_source_are_on_one_side_of_the_split():
    paragraphs = [
        f"Package: p{n}-{part}\nSource: s{n} (1.0)\nDescription: d\nSection: games\n"
        for n in range(100)
        for part in ("bin", "data")
    ]
    rows = to_rows("\n".join(paragraphs))
    assert len(rows) == 200
    sides = {}
    for row in rows:
        sides.setdefault(row.product.name.split("-")[0], set()).add(row.is_test)
    assert all(len(side) == 1 for side in sides.values())
    assert 10 <= sum(side == {True} for side in sides.values()) <= 30


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"{", 400),
        (b"{}", 400),
        (b"[]", 400),
        (json.dumps([GOOD] * 257).encode(), 400),
        (b"[1]", 422),
        (json.dumps([GOOD, {**GOOD, "name": ""}]).encode(), 422),
        (json.dumps([{**GOOD, "description": "x" * 2_001}]).encode(), 422),
        (json.dumps([{"name": "a"}]).encode(), 422),
    ],
)
def test_a_body_that_cannot_be_used_is_refused(body, status):
    with pytest.raises(Problem) as caught:
        parse(body)
    assert caught.value.status == status


def rows_of(sample, **changes):
    return to_table(
        [
            AnswerRecord(
                **{
                    "read_id": str(place), "request_id": "", "index": 0, "time_us": 0, "site": "",
                    "model_version": "1", "answer": row["prototype"],
                    "confidence": row["prototype_confidence"], "total_ms": 1.0,
                    "features": {
                        "num_words": float(
                            len(to_text(Product(row["name"], row["description"])).split())
                        ),
                        "description_chars": float(len(row["description"])),
                        "beyond_ascii_share": 0.0,
                    },
                    "content_type": "", "content": b"",
                }
                | changes
            )
            for place, row in enumerate(sample)
        ]
    ).to_pandas()  # fmt: skip


def test_answers_like_the_reference_have_not_moved(sample):
    reference = pd.read_parquet(CHAMPION / "reference.parquet")
    assert judge_answers(rows_of(sample), reference) == []


def test_another_mix_and_longer_texts_are_found(sample):
    reference = pd.read_parquet(CHAMPION / "reference.parquet")
    games = [row for row in sample if row["prototype"] in ("games", "rust", "fonts")] * 10
    longer = [{**row, "description": row["description"] * 3} for row in games]
    found = {one.subject for one in judge_answers(rows_of(longer), reference)}
    assert {"answer", "feature_description_chars"} <= found


def test_too_few_values_are_said_and_not_taken_for_no_drift(sample):
    reference = pd.read_parquet(CHAMPION / "reference.parquet").head(50)
    texts = [one.text for one in judge_answers(rows_of(sample), reference)]
    assert "confidence cannot be judged: 50 values, 100 are needed" in texts
    assert any(text.startswith("the mix of answers cannot be judged") for text in texts)


def test_a_reference_that_was_written_is_read_back():
    data = to_reference(["a", "b"], [0.5, 0.6], [{"x": 1.0}, {"y": 2.0}])
    rows = pd.read_parquet(io.BytesIO(data))
    assert rows["feature_x"].isna().tolist() == [False, True]


@pytest.mark.slow
def test_the_served_answers_are_the_prototypes(sample, tmp_path):
    server = RunningExample("text_pattern", tmp_path / "running")
    try:
        server.wait()
        answers = []
        for start in range(0, len(sample), 250):
            products = [{name: row[name] for name in GOOD} for row in sample[start : start + 250]]
            status, body, _ = server.ask("POST", "/v1/sections", json.dumps(products))
            assert status == 200
            answers += json.loads(body)
    finally:
        server.kill()
    assert [one["section"] for one in answers] == [row["prototype"] for row in sample]
    differences = [
        abs(one["confidence"] - row["prototype_confidence"])
        for one, row in zip(answers, sample, strict=True)
    ]
    assert max(differences) < 1e-4
    right = sum(one["section"] == row["section"] for one, row in zip(answers, sample, strict=True))
    assert right / len(sample) > 0.75
