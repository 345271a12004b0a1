"""Which fault of a scanner fits the reads that tripped a site. Pure.

A guess for the person who looks first: what differs most plainly from the site's own history.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from model.decision import NUM_DIGITS
from serving.reading import site_signals as signal

MIN_ACCEPTED: Final = 12  # accepted reads from which their mix of digits is believed
MIN_SIGNS: Final = 5  # measured crops from which a sign is believed
MIN_CHANGED: Final = 40  # reads from which a change of the framing is believed
_NO_MEANING_TURNED: Final = [signal.FIRST_DIGIT + digit for digit in (3, 4, 7)]
# How far each signal's mean moves with a fault, and hardly with hard mail
# (monitoring/studies/site_breaker.py).
_MOVES: Final = {
    signal.INVERTED: 0.25,
    signal.NUM_DROPPED: 0.35,
    signal.EDGES_TOUCHED: 0.45,
    signal.LOG_ASPECT: 0.5,
    signal.FULL_LINE: 0.2,
    signal.SHARPNESS: 0.3,
    signal.CONTRAST: 0.2,
}


def reason_of(recent: NDArray[np.float64], usual: NDArray[np.float64]) -> str:
    """Name the fault: dark, inverted, striped, blurred, turned (or mirrored), or unknown.

    Args:
        recent: (N, NUM_SIGNALS), the reads since the change.
        usual: the site's means; NaN where it has no history.
    """
    moved = _moves(recent, usual)
    if recent[:, signal.BLANK].mean() > 0.3 or moved[signal.CONTRAST] < -0.35:
        return "dark"
    if abs(moved[signal.INVERTED]) > _MOVES[signal.INVERTED]:
        return "inverted"
    if moved[signal.FULL_LINE] > _MOVES[signal.FULL_LINE]:
        return "striped"
    if moved[signal.SHARPNESS] < -_MOVES[signal.SHARPNESS]:
        return "blurred"
    is_cut_as_ever = abs(moved[signal.EDGES_TOUCHED]) < _MOVES[signal.EDGES_TOUCHED]
    is_turned = moved[signal.LOG_ASPECT] > _MOVES[signal.LOG_ASPECT]
    if is_cut_as_ever and (is_turned or _lacks_digits(recent, usual)):
        return "turned"
    return "unknown"


def has_changed(recent: NDArray[np.float64], usual: NDArray[np.float64]) -> bool:
    """Whether the crops and their framing differ from the site's own, not only their reading."""
    if len(recent) < MIN_CHANGED:
        return False
    moved = _moves(recent, usual)
    return any(abs(moved[place]) > limit for place, limit in _MOVES.items())


def _moves(recent: NDArray[np.float64], usual: NDArray[np.float64]) -> dict[int, float]:
    """How far each mean is from the usual; 0 where too few reads, or no history, show it."""
    places = list(_MOVES)
    counts = (~np.isnan(recent[:, places])).sum(axis=0)
    means = signal.as_array(signal.means_of(recent))[places]
    moved = np.where(counts >= MIN_SIGNS, np.nan_to_num(means - usual[places]), 0.0)
    return dict(zip(places, moved.tolist(), strict=True))


def _lacks_digits(recent: NDArray[np.float64], usual: NDArray[np.float64]) -> bool:
    """Whether digits that mean nothing upside down or mirrored are hardly among accepted reads."""
    mix = recent[:, signal.FIRST_DIGIT : signal.FIRST_DIGIT + NUM_DIGITS]
    num_accepted = int((~np.isnan(mix[:, 0])).sum())
    if num_accepted < MIN_ACCEPTED:
        return False
    share = float(np.nansum(recent[:, _NO_MEANING_TURNED])) / num_accepted
    return share < 0.4 * float(np.nan_to_num(usual[_NO_MEANING_TURNED]).sum())
