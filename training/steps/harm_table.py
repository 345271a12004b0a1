"""Step `harm`: what a champion accepts wrongly of each kind of damage.

Edge: reads MNIST, fonts and the champion, prints a table.
"""

from __future__ import annotations

from pathlib import Path

from model import artifact
from model.classifier import Classifier
from training.config import DataConfig
from training.data import fonts
from training.data.datasets import load_mnist
from training.evaluation import harm
from training.evaluation.suites import HARM_SEED


def run(data: DataConfig, champion: Path) -> None:
    """Print a row for each kind, over three severities, the most harmful first.

    Raises:
        DataError: there are too few fonts for printed digits and letters.
    """
    served = artifact.load(champion)
    found = fonts.need_fonts(without_fonts=data.without_fonts)
    sets = harm.draw(
        load_mnist(data).test,
        fonts.draw_digits(found.held_out) if found else None,
        fonts.draw_letters(found.held_out) if found else None,
        seed=HARM_SEED,
    )
    results = harm.judge(Classifier(served.onnx_bytes), sets, served.policy())
    print("| damage | held out | accepted | harm |")
    print("| --- | --- | --- | --- |")
    for row in harm.table(results):
        held_out = "" if row.seen else "yes"
        print(f"| {row.kind} | {held_out} | {row.accepted_frac:.1%} | {row.harm_frac:.2%} |")
