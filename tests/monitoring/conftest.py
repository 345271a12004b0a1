"""Fixtures: made rows, and a reference of them."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd
import pytest
from made_records import make_rows

from capture.reference import Reference


@pytest.fixture(scope="session")
def rows_of() -> Callable[..., pd.DataFrame]:
    return make_rows


@pytest.fixture(scope="session")
def reference() -> Reference:
    rows = make_rows(5_000, seed=99)
    rows["label"] = rows["digit"]
    rows.loc[rows.index[:5], "label"] = "x"  # 0.1 % of reads are wrong
    return Reference(rows, model_version="3", threshold=0.9, garbage_threshold=10.0)
