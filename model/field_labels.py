"""Connected parts of a field's ink, by runs. Knows nothing about digits.

`model.components` fills a mask of 20 px in microseconds; its time grows with the mask times the
longest path in it, and a field has a hundred times as many pixels.

Source:
    He, Chao and Suzuki, "A run-based two-scan labeling algorithm", 2008.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.field_lattice import TooManyPieces

MAX_RUNS = 12_000  # of ink in all rows: a field of twelve digits has about 1,500


class Parts(NamedTuple):
    """The connected parts of a mask, in order of their first pixel. Bounds are half open."""

    labels: NDArray[np.int32]  # (H, W): 0 paper, else the part's number from 1
    tops: NDArray[np.intp]  # (P,)
    bottoms: NDArray[np.intp]
    lefts: NDArray[np.intp]
    rights: NDArray[np.intp]
    areas: NDArray[np.intp]


def find_parts(mask: NDArray[np.bool_]) -> Parts:
    """Split a (H, W) mask into 8-connected parts.

    Raises:
        TooManyPieces: the mask has more than 12,000 runs of ink.
    """
    height, width = mask.shape
    stride = width + 1  # a free column: no run is beside one of the row before or after
    flat = np.zeros(height * stride + 1, dtype=np.bool_)
    flat[1:].reshape(height, stride)[:, :width] = mask
    changes = np.flatnonzero(flat[1:] != flat[:-1])
    starts, ends = changes[::2], changes[1::2]
    if len(starts) > MAX_RUNS:
        raise TooManyPieces(
            f"the field's ink has {len(starts)} runs; at most {MAX_RUNS} are allowed; "
            "send the field with the code alone, without noise"
        )
    roots = _join(starts, ends, stride)
    _, numbers = np.unique(roots, return_inverse=True)
    lengths = ends - starts
    labels = np.zeros(height * stride, dtype=np.int32)
    inside = np.repeat(starts - np.cumsum(lengths) + lengths, lengths) + np.arange(lengths.sum())
    labels[inside] = np.repeat(numbers + 1, lengths)
    return _measure(
        labels.reshape(height, stride)[:, :width], numbers, starts, ends, lengths, stride
    )


def _measure(
    labels: NDArray[np.int32],
    numbers: NDArray[np.intp],
    starts: NDArray[np.intp],
    ends: NDArray[np.intp],
    lengths: NDArray[np.intp],
    stride: int,
) -> Parts:
    order = np.argsort(numbers, kind="stable")
    firsts = np.flatnonzero(np.diff(numbers[order], prepend=-1))
    if not len(firsts):
        none = np.zeros(0, dtype=np.intp)
        return Parts(labels, none, none, none, none, none)
    rows = (starts // stride)[order]
    return Parts(
        labels,
        tops=np.minimum.reduceat(rows, firsts),
        bottoms=np.maximum.reduceat(rows, firsts) + 1,
        lefts=np.minimum.reduceat((starts % stride)[order], firsts),
        rights=np.maximum.reduceat((ends % stride)[order], firsts),
        areas=np.add.reduceat(lengths[order], firsts),
    )


def _join(starts: NDArray[np.intp], ends: NDArray[np.intp], stride: int) -> list[int]:
    """The first run of the part that each run belongs to."""
    first = np.searchsorted(ends, starts + stride, side="left")
    last = np.searchsorted(starts, ends + stride, side="right")
    roots = list(range(len(starts)))
    for upper, (low, high) in enumerate(zip(first.tolist(), last.tolist(), strict=True)):
        for lower in range(low, high):
            one, other = upper, lower
            while roots[one] != one:
                roots[one] = one = roots[roots[one]]
            while roots[other] != other:
                roots[other] = other = roots[roots[other]]
            if one < other:
                roots[other] = one
            else:
                roots[one] = other
    for run, root in enumerate(roots):
        roots[run] = roots[root]  # a root is before its runs, so it is final already
    return roots
