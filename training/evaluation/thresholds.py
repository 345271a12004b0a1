"""Accept thresholds whose error is bounded with a stated confidence, and where they come from.

Pure. Knows nothing about models or files.

The reads that a threshold is fitted on must be independent: one read of each digit. Two renderings
of one digit are wrong together, so counting both would make the bound look better than it is.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy.stats import beta, binom

# 0.0002 is not among them: 10,000 digits cannot show it (11,512 without one error could).
ERROR_TARGETS = (0.0005, 0.001, 0.002, 0.005, 0.01)
DEFAULT_ERROR_TARGET = 0.001
# That the share of wrong reads among the accepted is at most the target. 95 % would cost champion 5
# 3.7 points of accepted clean digits and 8.6 of rendered ones (docs/measurements/gate-2026-11.md).
CONFIDENCE = 0.90
# The first threshold that is tested accepts at least this share of the reads. A stricter one has
# too few reads to show anything; a looser one fails more often, and then no threshold is found.
FIRST_ACCEPTED_FRAC = 0.70
STEP_FRAC = 0.0025
MIN_SITE_LABELS = 3_000  # audited labels of accepted reads that give a site its own threshold


@dataclass(frozen=True, slots=True)
class Threshold:
    """The lowest confidence that is accepted, for one error target."""

    error_target: float
    threshold: float
    accepted_frac: float  # of the reads that it was fitted on
    confidence: float  # that the error of accepted reads is at most `error_target`
    num: int  # distinct digits that it was fitted on, accepted or not
    num_accepted: int
    num_wrong: int  # among the accepted

    @property
    def error_bound(self) -> float:
        """Upper bound of the share of wrong reads among the accepted, at `confidence`."""
        return upper_bound(self.num_wrong, self.num_accepted, self.confidence)


def upper_bound(num_wrong: int, num: int, confidence: float) -> float:
    """One-sided upper bound of a share; 1.0 where nothing was counted.

    Source:
        Clopper and Pearson, "The use of confidence or fiducial limits illustrated in the case of
        the binomial", Biometrika 26, 1934.
    """
    return 1.0 if num_wrong >= num else float(beta.ppf(confidence, num_wrong + 1, num - num_wrong))


def interval(num_wrong: int, num: int, confidence: float = 0.95) -> tuple[float, float]:
    """Two-sided Clopper-Pearson interval of a share; (0, 1) where nothing was counted."""
    if num == 0:
        return 0.0, 1.0
    tail = (1 - confidence) / 2
    low = 0.0 if num_wrong == 0 else float(beta.ppf(tail, num_wrong, num - num_wrong + 1))
    return low, upper_bound(num_wrong, num, 1 - tail)


def choose_thresholds(
    confidence: NDArray[np.float64],
    right: NDArray[np.bool_],
    passed: NDArray[np.bool_],
    *,
    targets: Sequence[float] = ERROR_TARGETS,
) -> tuple[Threshold, ...]:
    """One threshold for each error target that these reads can show.

    Each threshold is the last of a fixed sequence, strict to loose, whose tests all refuse "the
    error is above the target" at level 1 - CONFIDENCE; the first test that does not refuse ends the
    sequence. So the chance that the chosen threshold misses its target is at most 1 - CONFIDENCE,
    although it is chosen among many. The sequence is fixed by numbers of accepted reads, which tell
    nothing about right and wrong.

    Args:
        confidence: (N,) of independent reads, one of each digit.
        right: (N,) whether the answer is the label.
        passed: (N,) whether the garbage head lets the crop pass; others are never accepted.
        targets: largest shares of wrong reads among the accepted.

    Source:
        Angelopoulos, Bates, Candes, Jordan, Lei, "Learn then Test: calibrating predictive
        algorithms to achieve risk control", 2021, section 3.2 (fixed sequence testing).
    """
    num = len(confidence)
    order = np.argsort(-confidence[passed], kind="stable")
    sure, wrong = confidence[passed][order], np.cumsum(~right[passed][order])
    # Reads of equal confidence are accepted together, so a threshold takes the whole of a tie.
    found = []
    for target in targets:
        steps = [end for end in _sequence(num, target) if end <= len(sure)]
        tested = np.array([*steps, len(sure)] if steps else [], np.intp)
        ends = np.unique(np.searchsorted(-sure, -sure[tested - 1], side="right"))
        refused = binom.cdf(wrong[ends - 1], ends, target) <= 1 - CONFIDENCE
        last = int(np.argmin(np.append(refused, [False]))) - 1  # -1: the first test ends it
        if last >= 0:
            end = int(ends[last])
            found.append(
                Threshold(
                    error_target=target,
                    threshold=float(sure[end - 1]),
                    accepted_frac=end / num,
                    confidence=CONFIDENCE,
                    num=num,
                    num_accepted=end,
                    num_wrong=int(wrong[end - 1]),
                )
            )
    return tuple(found)


def holds(
    threshold: float,
    confidence: NDArray[np.float64],
    right: NDArray[np.bool_],
    passed: NDArray[np.bool_],
    *,
    error_target: float = DEFAULT_ERROR_TARGET,
) -> bool:
    """Whether these reads show an error target at one threshold that was fixed before.

    One test needs no sequence: the champion's threshold, on a candidate, was not chosen by these
    reads. Arguments as for `choose_thresholds`.
    """
    accepted = passed & (confidence >= threshold)
    num, num_wrong = int(accepted.sum()), int((accepted & ~right).sum())
    return float(binom.cdf(num_wrong, num, error_target)) <= 1 - CONFIDENCE


def with_default(found: Sequence[Threshold], threshold: float) -> tuple[Threshold, ...]:
    """Thresholds with an office's own for the default target.

    Stricter targets keep at least it, looser ones at most. What was counted stays the model's.
    """
    rows = []
    for row in found:
        held = threshold
        if row.error_target < DEFAULT_ERROR_TARGET:
            held = max(row.threshold, threshold)
        elif row.error_target > DEFAULT_ERROR_TARGET:
            held = min(row.threshold, threshold)
        rows.append(replace(row, threshold=held))
    return tuple(rows)


@cache
def _sequence(num: int, error_target: float) -> tuple[int, ...]:
    """Numbers of accepted reads at which `num` reads are tested, rising.

    A test allows one more error from certain numbers of reads on: 0 from 2,302, 1 from 3,889, 4
    from 7,992, 5 from 9,273, for 0.1 % at 90 %. Each of these numbers is tested, and STEP_FRAC
    apart those of the first two thirds of the way to the next. In the last third the allowance is
    about to rise, so that a test there would only end the sequence early.
    """
    reads = np.arange(1, num + 1)
    allowed = binom.ppf(1 - CONFIDENCE, reads, error_target)
    allowed -= binom.cdf(allowed, reads, error_target) > 1 - CONFIDENCE  # -1: nothing can be shown
    rises = reads[np.diff(allowed, prepend=-1) > 0]
    rises = rises[rises >= FIRST_ACCEPTED_FRAC * num]
    step = max(1, round(STEP_FRAC * num))
    tested: list[int] = []
    for start, end in itertools.pairwise(rises):
        tested += range(start, start + max(1, (end - start) * 2 // 3), step)
    if len(rises):
        tested += [*range(rises[-1], num, step), num]
    return tuple(int(end) for end in tested)


def site_threshold(
    confidence: NDArray[np.float64], right: NDArray[np.bool_], *, error_target: float
) -> Threshold | None:
    """The threshold of one site from its own audited labels.

    Args:
        confidence: (N,) of the site's accepted reads that people have labelled, chosen at random.
        right: (N,) whether the answer was the label.
        error_target: largest share of wrong reads among the accepted.

    Returns:
        None where the model's threshold stays: fewer than MIN_SITE_LABELS labels, or labels that
        show the target at no threshold. Audited reads were accepted by the model's threshold, so a
        site's own is never looser.
    """
    if len(confidence) < MIN_SITE_LABELS:
        return None
    everything = np.ones(len(confidence), np.bool_)
    found = choose_thresholds(confidence, right, everything, targets=(error_target,))
    return found[0] if found else None
