"""Champion and challenger are compared on the crops that both read."""

import pandas as pd
import pytest

from monitoring.shadow_compare import ShadowComparison, compare

NAMES = ("model_version", "digit", "accepted", "label", "challenger_version", "challenger_digit",
         "challenger_accepted")  # fmt: skip


def rows(*values):
    return pd.DataFrame(values, columns=NAMES)


def test_crops_that_both_read_are_compared_by_pair_of_versions():
    found = compare(
        rows(
            ("7", "3", True, None, "8", 3, True),
            ("7", "3", True, "5", "8", 5, True),
            ("7", "4", False, "4", "8", 9, False),
            ("7", "1", False, None, "8", 1, True),
            ("7", "1", True, None, None, None, False),  # the challenger had no time
            ("6", "2", True, None, "8", 2, False),
        )
    )
    assert found == [
        ShadowComparison("6", "8", 1, 0, pytest.approx(0.0), pytest.approx(1.0), 0, 0, 0),
        ShadowComparison("7", "8", 4, 2, pytest.approx(0.5), pytest.approx(0.25), 2, 1, 1),
    ]


def test_where_no_challenger_read_there_is_nothing_to_compare():
    assert compare(rows(("7", "3", True, None, None, None, False))) == []
