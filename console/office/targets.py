"""What each error target would do with the mail of an office, from its own audited reads. Pure.

A stored read has its confidence, so the threshold of another target can be applied to it. What is
wrong among the reads that a target accepts is estimated from two kinds of labels:

- an audited read that was accepted stands for 1 / (its audit probability) reads of its site;
- a keyed read that was rejected stands for the rejected reads of its band of confidence.

Weights are scaled to the known numbers of reads, because not all marks and rejects may be keyed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from console.office.mail_days import NO_DIGIT, NO_LABEL, UNREADABLE_LABEL
from contract.costs import DEFAULT
from monitoring.audits import effective_size, interval

MAX_LABELS: Final = 10_000_000


@dataclass(frozen=True, slots=True)
class Target:
    """A row of a model's table of thresholds."""

    error_target: float
    threshold: float


@dataclass(frozen=True, slots=True)
class Span:
    """An estimate and its 95 % interval; NaN where no label tells."""

    value: float
    low: float
    high: float

    def times(self, factor: float, plus: float = 0.0) -> Span:
        """The same share of something else."""
        return Span(*(plus + factor * one for one in (self.value, self.low, self.high)))


@dataclass(frozen=True, slots=True)
class Figures:
    """One target: what it accepts of the office's mail, and what that costs a day."""

    target: Target
    coverage: float  # share of the reads that is accepted
    num_judged: int  # of those, with a label that counts
    num_wrong: int
    num_worth: float  # equally weighted labels that tell as much
    num_not_keyed: int  # reads that this target accepts, of a band of which none was keyed
    error: Span  # share of wrong among accepted
    accepted_a_day: float
    keys_a_day: float  # rejected reads, and the audited share of the accepted ones
    misroutes_a_day: Span
    euros_a_day: Span


@dataclass(frozen=True, slots=True)
class Plant:
    """What the figures of a day are computed with."""

    reads_a_day: float
    audit_frac: float  # of the accepted reads, that people key, too


def figures(
    reads: NDArray[np.void],
    targets: Sequence[Target],
    garbage_threshold: float,
    plant: Plant,
) -> list[Figures]:
    """Apply each target to reads of one model.

    Args:
        reads: of `mail_days.Mail`, of one model.
        targets: of that model, the strictest first.
        garbage_threshold: of that model.
        plant: what a day has.
    """
    accepts = [_accepts(reads, one.threshold, garbage_threshold) for one in targets]
    band = len(targets) - np.stack(accepts).sum(axis=0, dtype=np.int64)  # 0: by each target
    weights, unknown = _weights(reads, band)
    wrong = reads["label"] != reads["digit"]
    found = []
    for place, target in enumerate(targets):
        is_judged = accepts[place] & (weights > 0)
        found.append(
            _figures(
                target,
                float(accepts[place].mean()) if len(reads) else 0.0,
                wrong[is_judged],
                weights[is_judged],
                int(unknown[: place + 1].sum()),
                plant,
            )
        )
    return found


def _accepts(
    reads: NDArray[np.void], threshold: float, garbage_threshold: float
) -> NDArray[np.bool_]:
    """What a target accepts. A site on hold stays on hold, so its reads are keyed."""
    accepted: NDArray[np.bool_] = (
        (reads["confidence"] >= np.float32(threshold))
        & (reads["garbage"] <= np.float32(garbage_threshold))
        & (reads["digit"] != NO_DIGIT)
        & ~reads["is_held"]
    )
    return accepted


def _weights(
    reads: NDArray[np.void], band: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """How many reads each judged one stands for; 0 for the others.

    Returns:
        The weights, and for each band the number of rejected reads of which none was keyed.
    """
    is_keyed = (reads["label"] != NO_LABEL) & (reads["label"] != UNREADABLE_LABEL)
    audited = reads["accepted"] & is_keyed & reads["is_audit"] & (reads["audit_probability"] > 0)
    weights = np.zeros(len(reads))
    for site in np.unique(reads["site"]):
        of_site = reads["accepted"] & (reads["site"] == site)
        judged = of_site & audited
        inverse = 1 / reads["audit_probability"][judged].astype(np.float64)
        if len(inverse):
            weights[judged] = inverse * (of_site.sum() / inverse.sum())
    has_audit = np.isin(reads["site"], np.unique(reads["site"][audited]))
    num_bands = int(band.max(initial=0)) + 1
    unknown = np.zeros(num_bands, np.int64)
    for one in range(num_bands):
        rejected = ~reads["accepted"] & (band == one) & has_audit
        keyed = rejected & is_keyed
        if keyed.any():
            weights[keyed] = rejected.sum() / keyed.sum()
        else:
            unknown[one] = rejected.sum()
    return weights, unknown


def _figures(
    target: Target,
    coverage: float,
    wrong: NDArray[np.bool_],
    weights: NDArray[np.float64],
    num_not_keyed: int,
    plant: Plant,
) -> Figures:
    nan = float("nan")
    error, size = Span(nan, nan, nan), 0.0
    if len(wrong) and not num_not_keyed:
        share = float(weights[wrong].sum() / weights.sum())
        size = effective_size(wrong, weights)
        error = Span(share, *interval(share, size))
    accepted = plant.reads_a_day * coverage
    keys = plant.reads_a_day - accepted + plant.audit_frac * accepted
    return Figures(
        target=target,
        coverage=coverage,
        num_judged=len(wrong),
        num_wrong=int(wrong.sum()),
        num_worth=size,
        num_not_keyed=num_not_keyed,
        error=error,
        accepted_a_day=accepted,
        keys_a_day=keys,
        misroutes_a_day=error.times(accepted),
        euros_a_day=error.times(accepted * DEFAULT.wrong_read_eur, plus=keys * DEFAULT.reject_eur),
    )


def labels_needed(share: float, width: float) -> int:
    """The equally weighted labels for an interval of at most this width around a share."""
    low, high = 1, MAX_LABELS
    while low < high:
        middle = (low + high) // 2
        ends = interval(share, middle)
        low, high = (low, middle) if ends[1] - ends[0] <= width else (middle + 1, high)
    return low
