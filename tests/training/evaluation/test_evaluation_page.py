import re
from dataclasses import replace

import numpy as np
import pytest
from test_gate_rules import good  # noqa: F401 - a fixture
from tiny import draw_digits

from training.evaluation import pictures, sheet
from training.evaluation.confidence import reliability, risk_coverage
from training.evaluation.evaluation_page import write_report
from training.fitting import Epoch
from training.steps import search as architecture_search

PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture
def reads():
    digits = draw_digits(60, seed=1)
    answers = digits.labels.astype(np.intp)
    answers[:9] = (answers[:9] + 1) % 10
    return digits.images[:, None] / np.float32(255), digits.labels, answers


def test_the_page_is_self_contained_and_shows_the_numbers(good):  # noqa: F811
    given = replace(good, garbage=None)
    page = write_report("a <run>", given, {"confusion.png": PNG, "unknown.png": PNG})
    assert "a &lt;run&gt;" in page
    assert "99.80%" in page
    assert "4 of 9,900" in page
    assert "<td>2.00%</td>" in page  # the harm of an unseen kind
    assert "This network has no garbage head." in page
    assert page.count("<img") == 1
    assert not re.search(r'(src|href)="(?!data:)', page)


def test_every_picture_is_a_png_of_the_same_bytes_each_time(reads):
    batch, labels, answers = reads
    sure = np.linspace(0.2, 1, len(labels))
    right = answers == labels
    history = [Epoch(0, 1.0, 0.9, 0.8, 1.0, 0.82), Epoch(1, 0.5, 0.95, 0.9, 1.0, 0.91)]
    draw = {
        "curves": lambda: pictures.learning_curves(history),
        "confusion": lambda: pictures.confusion_matrix(labels, answers),
        "mistakes": lambda: pictures.mistakes(batch, labels, answers, sure),
        "pairs": lambda: pictures.confusion_pairs(batch, labels, answers),
        "reliability": lambda: pictures.reliability_diagram({"a": reliability(sure, right)}),
        "risk": lambda: pictures.risk_coverage_curves({"a": risk_coverage(sure, right)}),
        "corruptions": lambda: pictures.corruption_grid({"blur": {"1": 0.9, "2": 0.8}}),
        "roc": lambda: pictures.garbage_roc({"noise": sure + 1}, sure),
    }
    for name, one in draw.items():
        first = one()
        assert first.startswith(PNG), name
        assert first == one(), name


def test_the_prototype_has_a_learning_curve_too():
    assert pictures.learning_curves([Epoch(0, 1.0, 0.9, None, 1.0, 0.9)]).startswith(PNG)


def test_the_pareto_picture_holds_every_shape():
    tried = [
        architecture_search.Tried(
            name, 1000, 50.0, 20.0 + number, 2.0, 0.99, 0.95 + number / 100, 10**5
        )
        for number, name in enumerate(architecture_search.SHAPES)
    ]
    assert architecture_search.draw_pareto(tried).startswith(PNG)


def test_the_contact_sheet_has_a_row_for_everything_it_simulates(digits):
    with_letters = sheet.draw_sheet(digits, digits.images[:3])
    without = sheet.draw_sheet(digits, None)
    row_px = sheet.CELL_PX + sheet.TITLE_PX
    assert with_letters.height == (3 + 12 + 11 + 6) * row_px
    assert without.height == with_letters.height - row_px
