"""Step `styles`: how a champion reads each writing style, against the same digits as written.

Edge: reads MNIST and the champion, prints a table.
"""

from __future__ import annotations

from pathlib import Path

from model import artifact
from model.classifier import Classifier
from model.decision import Policy
from training.config import DataConfig
from training.data.datasets import load_mnist
from training.data.styles import STYLES
from training.evaluation import judge, style_sets
from training.evaluation.suites import SEED, LabelledBatch, frame_set, plain_crops


def run(data: DataConfig, champion: Path) -> None:
    """Print a row for each style: accuracy before and after, accepted, wrong of all posted."""
    test = load_mnist(data).test
    served = artifact.load(champion)
    classifier, policy = Classifier(served.onnx_bytes), served.policy()
    print("| style | as MNIST's writers write it | in the style | accepted | harm |")
    print("| --- | --- | --- | --- | --- |")
    for name, part in style_sets.build_style_sets(test).items():
        plain = frame_set(*plain_crops(style_sets.unstyled(test, STYLES[name].label), SEED + 200))
        before, _, _ = _shares(classifier, plain, policy)
        right, accepted, harm = _shares(classifier, part, policy)
        print(f"| {name} | {before:.1%} | {right:.1%} | {accepted:.1%} | {harm:.2%} |")


def _shares(
    classifier: Classifier, part: LabelledBatch, policy: Policy
) -> tuple[float, float, float]:
    """Right, accepted, and accepted and wrong: shares of all crops."""
    reads = judge.read(classifier, part, policy.temperature)
    accepted = (reads.confidence >= policy.threshold) & (reads.garbage <= policy.garbage_threshold)
    return (
        float(reads.right.mean()),
        float(accepted.mean()),
        float((accepted & ~reads.right).mean()),
    )
