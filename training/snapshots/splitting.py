"""The frozen test share: which crops are never trained on. Pure.

Of each site a fifth, chosen by hash. What a snapshot has put in test or train stays there, so the
share never shrinks and no champion is judged on what an earlier one has seen. The crops of one read
stay together, and so do near-duplicates: a new one goes where the old one is.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from training.snapshots.duplicates import near_pairs

TEST_FRAC: Final = 0.2


def split(
    reads: Sequence[str],
    sites: Sequence[str],
    images: NDArray[np.uint8],
    known: Mapping[int, bool],
) -> NDArray[np.bool_]:
    """Say of each row whether it is in the test share.

    Args:
        reads: (N,) what stays together: the read, or a hash of an added crop.
        sites: (N,).
        images: (N, 28, 28).
        known: row -> whether it is in test, of rows that a snapshot has had.

    Returns:
        (N,) True in test.
    """
    groups = _together(reads, images, known)
    in_test = np.zeros(len(reads), bool)
    free: dict[str, list[NDArray[np.intp]]] = defaultdict(list)  # by site
    for rows in groups:
        decided = [known[row] for row in rows.tolist() if row in known]
        if decided:
            in_test[rows] = any(decided)
        else:
            free[sites[rows[0]]].append(rows)
    for row, is_test in known.items():  # whatever a new crop would join together
        in_test[row] = is_test
    of_site = np.array(sites)
    for site, new in free.items():
        own = of_site == site
        missing = round(TEST_FRAC * own.sum()) - in_test[own].sum()
        for rows in sorted(new, key=lambda rows: min(map(_hash, (reads[row] for row in rows)))):
            if missing <= 0:
                break
            in_test[rows] = True
            missing -= len(rows)
    return in_test


def _hash(read: str) -> bytes:
    return hashlib.sha256(f"test share/{read}".encode()).digest()


def _together(
    reads: Sequence[str], images: NDArray[np.uint8], known: Mapping[int, bool]
) -> list[NDArray[np.intp]]:
    """Rows that go to one part: those of a read, and new near-duplicates."""
    leader = np.arange(len(reads))

    def lead(row: int) -> int:
        while leader[row] != row:
            leader[row] = leader[leader[row]]
            row = int(leader[row])
        return row

    first_of: dict[str, int] = {}
    for row, read in enumerate(reads):
        leader[lead(row)] = lead(first_of.setdefault(read, row))
    new = np.array([row for row in range(len(reads)) if row not in known], np.intp)
    for one, other in zip(*near_pairs(images[new], images), strict=True):
        leader[lead(int(new[one]))] = lead(int(other))
    members: dict[int, list[int]] = defaultdict(list)
    for row in range(len(reads)):
        members[lead(row)].append(row)
    return [np.array(rows, np.intp) for rows in members.values()]
