"""Which texts run together: in one run all are padded to the longest. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

RUN_TOKENS: Final = 16  # what a run costs beside its tokens, in tokens; 8 and 24 give the same


def together(num_tokens: Sequence[int]) -> list[NDArray[np.intp]]:
    """The places of the texts that run together, so that all runs take the least time.

    Texts are sorted by their tokens. A run of n texts takes what n times the longest one's tokens
    and `RUN_TOKENS` take; the cheapest way to cut the sorted row is found from its start.
    """
    if len(num_tokens) == 1:
        return [np.zeros(1, np.intp)]
    order = np.argsort(num_tokens, kind="stable")
    cost, begins = np.zeros(len(order) + 1), np.zeros(len(order) + 1, np.intp)
    for end in range(1, len(order) + 1):
        longest = num_tokens[order[end - 1]]
        costs = cost[:end] + RUN_TOKENS + longest * np.arange(end, 0, -1)
        begins[end] = costs.argmin()
        cost[end] = costs[begins[end]]
    runs, end = [], len(order)
    while end:
        runs.append(order[begins[end] : end])
        end = int(begins[end])
    return runs
