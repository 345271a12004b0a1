"""The evaluation report: one self-contained HTML page.

Pure: numbers and pictures in, text out. Knows nothing about files.
"""

from __future__ import annotations

from collections.abc import Mapping

from pages.templating import render
from training.evaluation import harm
from training.evaluation.card import PICTURES, SET_NAMES, missing_note
from training.evaluation.judge import Evaluation


def write_report(title: str, evaluation: Evaluation, pictures: Mapping[str, bytes]) -> str:
    """Render the page. `pictures` are PNG bytes by file name; unknown names are left out."""
    return render(
        "evaluation.html",
        title=title,
        evaluation=evaluation,
        harm=harm.table(evaluation.harm),
        set_names=SET_NAMES,
        missing=missing_note(evaluation).replace("`", ""),
        digits=[str(digit) for digit in range(10)],
        severities=sorted(next(iter(evaluation.corruptions.values()), {})),
        pictures=[(caption, pictures[name]) for name, caption in PICTURES if name in pictures],
    )
