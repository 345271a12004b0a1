"""Digits of MNIST's training file whose label is wrong, so that training and thresholds skip them.

A wrong label with a clear digit costs more than its number: an accept threshold cannot be below the
confidence of the right answer, and four of them cost 2.5 points of coverage on renderings.

How they were found: rows where ten of ten or nine of ten nearest neighbours (of 60,000, deslanted,
60 principal components) have another label, or where champion 5 gives the label less than 60 %; 275
rows, looked at one by one in a contact sheet. Listed are those whose image plainly shows another
digit. Rows that are only hard to read stay. The test file is never changed.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

# Row of the training file, counted from 0: (its label, what the image shows).
MISLABELLED: Final[Mapping[int, tuple[int, int]]] = MappingProxyType(
    {
        7080: (3, 5),
        10994: (3, 9),
        12830: (4, 9),
        25678: (5, 6),
        26560: (7, 1),
        32342: (9, 7),
        35310: (5, 6),
        40144: (5, 3),
        43454: (5, 3),
        50340: (3, 2),
        51248: (9, 4),
        54264: (4, 1),
        56014: (5, 8),
        56596: (4, 9),
        57744: (9, 4),
        59915: (4, 7),
    }
)
