"""Step `try`: read validation crops with a short fit, for `compare`. Never reads the test set.

Edge: reads MNIST and the int8 model, writes the answers. The crops are the same whatever the recipe
is; a recipe's own validation pool is not.
"""

from __future__ import annotations

import logging

from model.classifier import Classifier
from model.decision import Policy
from training.config import DataConfig, Workspace
from training.data import render
from training.data.datasets import load_mnist
from training.evaluation import confidence, judge, style_sets, suites
from training.evaluation.answers import answer_all, save_answers
from training.evaluation.suites import LabelledBatch

logger = logging.getLogger(__name__)

NUM_RENDERED = 3000
ERROR_TARGET = 0.001


def run(data: DataConfig, work: Workspace) -> None:
    """Read clean, rendered and styled validation digits, and keep the answers."""
    validation = load_mnist(data).validation
    first = validation.take(slice(0, NUM_RENDERED))
    rendered = render.render_digits(
        first, severity=suites.ORDINARY_SEVERITY, seed=suites.SEED + 300
    )
    sets = {
        "validation": suites.frame_set(list(validation.images), validation.labels),
        "validation, rendered": suites.frame_set(*rendered),
        "validation, styles": style_sets.join(style_sets.build_style_sets(validation)),
    }
    classifier = Classifier(work.int8.read_bytes())
    answers = answer_all(classifier, sets, fit_policy(classifier, sets["validation, rendered"]))
    work.evaluation.unlink(missing_ok=True)  # of an earlier fit in this folder
    save_answers(work.answers, answers)
    for name, part in answers.items():
        logger.info("%-20s %.2f %% of %d", name, 100 * part.right.mean(), len(part.labels))


def fit_policy(classifier: Classifier, part: LabelledBatch) -> Policy:
    """The lowest threshold with at most the default share of these very reads wrong.

    It compares recipes and promises nothing: `evaluate` fits thresholds on other digits.
    """
    scores = judge.score(classifier, part.batch)
    temperature = confidence.fit_temperature(scores[0], part.labels)
    reads = judge.read(classifier, part, temperature)
    curve = confidence.risk_coverage(reads.confidence, reads.right)
    num = round(confidence.coverage_at(curve, ERROR_TARGET) * len(part))
    threshold = float(curve.confidence[num - 1]) if num else 1.0
    return Policy(temperature, threshold, float("inf"))
