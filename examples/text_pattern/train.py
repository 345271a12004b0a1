"""Fit, export, judge and promote: `python -m examples.text_pattern.train --why REASON`.

The prototype is the fitted scikit-learn pipeline. The served model is its ONNX file, and the gate
refuses one that answers a single test row otherwise.
"""

from __future__ import annotations

import argparse
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from skl2onnx import to_onnx
from skl2onnx.common.data_types import StringTensorType
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import classification_report
from sklearn.pipeline import Pipeline

from capture.store import open_store
from examples.text_pattern.debian_index import SHA256, SUITE, Row, load_rows
from examples.text_pattern.product_text import WORD, drift_features, to_text
from examples.text_pattern.section_model import CHAMPION, RULES, Section, load_model
from model.champion_files import VerifiedFiles, read_files, verify_files
from monitoring.answer_drift import to_reference
from training.evaluation.confidence import mcnemar_p
from training.gate_verdict import Reason, Verdict, at_least, at_most
from training.promotion import Candidate, promote

NAME: Final = "text-pattern"
MAX_WORDS: Final = 4_000  # 8,000 make the file twice as large, for 0.7 points of accuracy
ACCURACY_FLOOR: Final = 0.78  # a little below the first champion's
PROBABILITY_DIFFERENCE: Final = 1e-4  # float32 in ONNX, float64 in the prototype
EQUAL_REFUSED_FRAC: Final = 0.01
NUM_SAMPLE: Final = 1_000
OPSETS: Final = {"": 18, "ai.onnx.ml": 3}


@dataclass(frozen=True, slots=True)
class Judged:
    """Prototype and served model on the test rows."""

    expected: list[str]
    prototype: list[Section]
    served: list[Section]

    def is_right(self, answers: Sequence[Section]) -> np.ndarray:
        """(N,) bool: which answers are right."""
        pairs = zip(answers, self.expected, strict=True)
        return np.array([answer.section == section for answer, section in pairs])


def fit(rows: Sequence[Row]) -> Pipeline:
    """Fit the prototype. Its text is lower case already, so that ONNX needs no locale."""
    vectorizer = TfidfVectorizer(token_pattern=WORD, lowercase=False, max_features=MAX_WORDS)
    classifier = LogisticRegression(C=10, max_iter=300, tol=2e-3)
    pipeline = Pipeline([("words", vectorizer), ("sections", classifier)])
    pipeline.fit([to_text(row.product) for row in rows], [row.section for row in rows])
    return pipeline


def export(pipeline: Pipeline) -> bytes:
    """The prototype as ONNX: text [N, 1] -> label [N], probabilities [N, sections]."""
    vectorizer, classifier = pipeline["words"], pipeline["sections"]
    model = to_onnx(
        pipeline,
        initial_types=[("text", StringTensorType([None, 1]))],
        target_opset=OPSETS,
        options={id(classifier): {"zipmap": False}, id(vectorizer): {"tokenexp": WORD}},
    )
    onnx_bytes: bytes = model.SerializeToString()
    return onnx_bytes


def answer_all(pipeline: Pipeline, rows: Sequence[Row]) -> list[Section]:
    """The prototype's answers."""
    probs = pipeline.predict_proba([to_text(row.product) for row in rows])
    classes = pipeline.classes_[probs.argmax(axis=1)]
    return [Section(str(one), float(top)) for one, top in zip(classes, probs.max(1), strict=True)]


def judge(judged: Judged, champion: Sequence[Section] | None) -> Verdict:
    """Compare prototype, served model and champion on the same rows."""
    pairs = list(zip(judged.prototype, judged.served, strict=True))
    num_other = sum(one.section != other.section for one, other in pairs)
    difference = max(abs(one.confidence - other.confidence) for one, other in pairs)
    right = judged.is_right(judged.served)
    reasons: list[Reason] = [
        at_most("test rows that the prototype answers otherwise", num_other, 0),
        at_most("largest difference of a confidence", difference, PROBABILITY_DIFFERENCE),
        at_least("accuracy", float(right.mean()), ACCURACY_FLOOR),
    ]
    if champion is not None:
        before = judged.is_right(champion)
        lost, won = int((before & ~right).sum()), int((right & ~before).sum())
        p = mcnemar_p(lost, won, alternative="greater")
        reasons.append(at_least(f"chance of losing {lost}, winning {won}", p, EQUAL_REFUSED_FRAC))
    return Verdict(tuple(reasons))


def write_report(judged: Judged, path: Path) -> dict[str, float]:
    """Write the accuracy of each section; return the numbers of all."""
    answers = [one.section for one in judged.served]
    rows: dict[str, Any] = classification_report(
        judged.expected, answers, output_dict=True, zero_division=0.0
    )
    sections = sorted(set(judged.expected), key=lambda name: -rows[name]["support"])
    lines = [
        f"# Accuracy by section, on {len(answers):,} test rows of {SUITE}",
        "",
        "Written by `python -m examples.text_pattern.train`.",
        "",
        "| section | rows | precision | recall |",
        "| --- | --- | --- | --- |",
        *(
            f"| {name} | {rows[name]['support']:.0f} | {rows[name]['precision']:.3f} | "
            f"{rows[name]['recall']:.3f} |"
            for name in sections
        ),
        "",
    ]
    path.write_text("\n".join(lines))
    largest = max(judged.expected.count(name) for name in sections)
    return {
        "accuracy": float(judged.is_right(judged.served).mean()),
        "macro_f1": float(rows["macro avg"]["f1-score"]),
        "accuracy_of_the_largest_section": largest / len(answers),
        "num_test_rows": float(len(answers)),
    }


def main() -> None:
    """Run all steps."""
    parser = argparse.ArgumentParser(prog="python -m examples.text_pattern.train")
    parser.add_argument("--packages", type=Path, help="the package index (default: apt's)")
    parser.add_argument("--champion", type=Path, default=CHAMPION, help="folder (%(default)s)")
    parser.add_argument(
        "--store", default=".work/examples/text_pattern/models", help="of champions"
    )
    parser.add_argument("--why", required=True, help="one line for the promotion log")
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    rows = load_rows(args.packages)
    test = [row for row in rows if row.is_test]
    pipeline = fit([row for row in rows if not row.is_test])
    onnx_bytes = export(pipeline)
    golden = test[int(np.argmax([one.confidence for one in answer_all(pipeline, test[:200])]))]
    manifest = {
        "classes": pipeline.classes_.tolist(),
        "golden": {
            "product": {"name": golden.product.name, "description": golden.product.description},
            "section": golden.section,
            "min_confidence": 0.9,
        },
    }
    texts = [to_text(row.product) for row in test]
    model = load_model(VerifiedFiles(onnx_bytes, "candidate", "", manifest, {}))
    judged = Judged(
        [row.section for row in test], answer_all(pipeline, test), model.classify(texts)
    )
    before = None
    if (args.champion / "manifest.json").exists():
        champion = load_model(verify_files(read_files(args.champion, RULES), RULES))
        before = champion.classify(texts)
    report = Path(args.store).parent / "REPORT.md"
    report.parent.mkdir(parents=True, exist_ok=True)
    metrics = write_report(judged, report)
    features = [drift_features(row.product, text) for row, text in zip(test, texts, strict=True)]
    reference = to_reference(
        [one.section for one in judged.served], [one.confidence for one in judged.served], features
    )
    candidate = Candidate(
        name=NAME,
        onnx_bytes=onnx_bytes,
        example={"text": np.array([[texts[0]]], dtype=object)},
        metrics=metrics,
        manifest=manifest,
        files={
            "REPORT.md": report.read_bytes(),
            "reference.parquet": reference,
            "sample.jsonl": sample(test, judged.prototype),
        },
        data={"Packages": f"sha256:{SHA256}"},
    )
    verdict = judge(judged, before)
    promote(
        candidate,
        verdict,
        args.champion,
        open_store(args.store),
        check=lambda folder: load_model(verify_files(read_files(folder, RULES), RULES)),
        why=args.why,
    )


def sample(rows: Sequence[Row], answers: Sequence[Section]) -> bytes:
    """Test rows with the prototype's answers, for the tests: every Nth row."""
    pairs = list(zip(rows, answers, strict=True))
    chosen = pairs[:: max(1, len(pairs) // NUM_SAMPLE)]
    lines = [
        json.dumps(
            {
                "name": row.product.name,
                "description": row.product.description,
                "section": row.section,
                "prototype": answer.section,
                "prototype_confidence": round(answer.confidence, 6),
            },
            ensure_ascii=False,
        )
        for row, answer in chosen
    ]
    return ("\n".join(lines) + "\n").encode()


if __name__ == "__main__":
    main()
