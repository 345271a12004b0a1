"""The gate's rules on an office's own mail: a candidate must not read it worse. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from training.evaluation.mail import MailResult
from training.gate_verdict import Reason, at_least

MIN_LABELS = 200  # of a site, or of all sites together, in the test share
EQUAL_REFUSED_FRAC = 0.04  # an equal candidate is refused by one of the comparisons so often


def judge(results: Sequence[MailResult]) -> Iterator[Reason]:
    """All sites together, and each site that has enough labels."""
    judged = [one for one in results if one.num >= MIN_LABELS]
    level = EQUAL_REFUSED_FRAC / max(1, 2 * len(judged))
    for one in judged:
        name = f"mail of {one.site} ({one.num} labels)"
        losses = f"{one.champion_accuracy:.2%} -> {one.accuracy:.2%} read right"
        yield at_least(f"{name}: {losses}; chance if as good", one.loss_p, level)
        wrong = f"{one.champion_wrong_frac:.3%} -> {one.wrong_frac:.3%} wrong of accepted"
        yield at_least(f"{name}: {wrong}; chance if as good", one.wrong_p, level)


def notes(results: Sequence[MailResult]) -> Iterator[str]:
    """What was too little to judge, and what is only reported."""
    for one in results:
        if one.num < MIN_LABELS:
            yield f"mail of {one.site}: {one.num} labels, too few to judge ({MIN_LABELS} needed)"
        else:
            change = f"{one.champion_accepted_frac:.2%} -> {one.accepted_frac:.2%}"
            yield f"mail of {one.site}: accepted {change}"
