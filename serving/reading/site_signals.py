"""One read -> numbers by which a site is compared with its own history. Pure.

A number that a read does not have (a blank crop has no garbage score) is NaN and counts nowhere.
"""

import math
from array import array
from collections.abc import Iterable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from model.decision import NUM_DIGITS, Policy
from serving.messages import Reading

# The signals of one read, in the order of a history's means.
REJECTED: Final = 0
NO_DIGIT: Final = 1  # blank, or the garbage score says so
BLANK: Final = 2
INVERTED: Final = 3
NUM_DROPPED: Final = 4
EDGES_TOUCHED: Final = 5
LOG_ASPECT: Final = 6
FIRST_DIGIT: Final = 7  # ten columns: 1 where this digit was accepted; NaN where none was
FULL_LINE: Final = FIRST_DIGIT + NUM_DIGITS  # the last three are of a sample of crops
SHARPNESS: Final = FULL_LINE + 1
CONTRAST: Final = FULL_LINE + 2
NUM_SIGNALS: Final = FULL_LINE + 3

NOTED: Final = 10  # numbers noted of a read
LOOK_EVERY: Final = 64  # of so many crops one is measured, while a site is calm
_MAX_DROPPED: Final = 5.0
_DARK: Final = 0.5  # of the contrast


def note(notes: "array[float]", reading: Reading, *, look: bool) -> None:
    """Append what is needed of a read; its images are not kept.

    Args:
        notes: of float64.
        reading: as the model decided it, or on hold.
        look: also measure the crop itself, which takes some 50 us.
    """
    decision, framed = reading.decision, reading.framed
    digit = -1.0 if decision.digit is None else decision.digit
    if framed is None:
        inverted = num_dropped = edges_touched = aspect = math.nan
    else:
        inverted, num_dropped = framed.inverted, framed.num_dropped
        edges_touched, aspect = framed.edges_touched, framed.aspect
    full_line = sharpness = contrast = math.nan
    if look and reading.crop is not None:
        full_line, sharpness, contrast = signs_of(reading.crop)
    notes.extend(
        (
            digit, decision.confidence, reading.garbage, inverted, num_dropped, edges_touched,
            aspect, full_line, sharpness, contrast,
        )
    )  # fmt: skip


def to_signals(notes: "array[float]", policy: Policy) -> NDArray[np.float64]:
    """The signals of the noted reads, (N, NUM_SIGNALS) float64.

    Whether a read was rejected follows from its scores, so reads on hold are judged as well.
    """
    read = np.frombuffer(notes, np.float64).reshape(-1, NOTED)
    digit, confidence, garbage = read[:, 0], read[:, 1], read[:, 2]
    is_blank = digit < 0
    is_no_digit = is_blank | (garbage > policy.garbage_threshold)
    is_rejected = is_no_digit | (confidence < policy.threshold)
    signals = np.full((len(read), NUM_SIGNALS), np.nan)
    signals[:, REJECTED], signals[:, NO_DIGIT], signals[:, BLANK] = (
        is_rejected,
        is_no_digit,
        is_blank,
    )
    signals[:, INVERTED] = read[:, 3]
    signals[:, NUM_DROPPED] = np.minimum(read[:, 4], _MAX_DROPPED)
    signals[:, EDGES_TOUCHED] = read[:, 5]
    with np.errstate(divide="ignore"):
        signals[:, LOG_ASPECT] = np.clip(np.log(read[:, 6]), -3, 3)
    accepted = np.flatnonzero(~is_rejected)
    signals[accepted, FIRST_DIGIT : FIRST_DIGIT + NUM_DIGITS] = 0
    signals[accepted, FIRST_DIGIT + digit[accepted].astype(int)] = 1
    signals[:, FULL_LINE:] = read[:, 7:]
    return signals


def signs_of(crop: NDArray[np.uint8]) -> tuple[float, float, float]:
    """What one crop shows of its scanner.

    Args:
        crop: (H, W) uint8.

    Returns:
        The largest share of a row or column that is not paper; the steepest step between
        neighbours as a share of the contrast; the contrast, in grey levels over 255.
    """
    low, high = int(crop.min()), int(crop.max())
    if high == low:
        return 0.0, 0.0, 0.0
    is_dark = crop < low + (high - low) * _DARK
    if 2 * int(is_dark.sum()) > crop.size:
        is_dark = ~is_dark
    full = max(float(is_dark.mean(axis=0).max()), float(is_dark.mean(axis=1).max()))
    steps = np.abs(np.diff(crop.astype(np.int16), axis=1))
    steepest = int(steps.max()) if steps.size else 0
    return full, steepest / (high - low), (high - low) / 255


def means_of(signals: NDArray[np.float64]) -> list[float | None]:
    """The mean of each signal over the reads that have it; None where none has."""
    known = ~np.isnan(signals)
    counts = known.sum(axis=0)
    sums = np.where(known, signals, 0.0).sum(axis=0)
    return [
        float(total / number) if number else None
        for total, number in zip(sums.tolist(), counts.tolist(), strict=True)
    ]


def as_array(means: Iterable[float | None]) -> NDArray[np.float64]:
    """Means as (NUM_SIGNALS,) float64; NaN where there is none."""
    return np.array([math.nan if one is None else one for one in means])
