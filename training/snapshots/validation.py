"""Validate a snapshot before it is trained on: what is left out, what people should look at. Pure.

Nothing is deleted: rows that are left out stay in the snapshot, and next month is judged anew.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from training.snapshots.duplicates import near_pairs
from training.snapshots.label_noise import Annotator, annotators, likely_wrong, surely_wrong
from training.snapshots.reading import MailCrops, Strings
from training.snapshots.sources import Quarantined, judge_sources, sources_of

Severity = Literal["note", "watch", "stop"]
_SHOWN: Final = 10  # rows that a sentence names


@dataclass(frozen=True, slots=True)
class Limits:
    """When a finding is made."""

    max_source_frac: float = 0.6  # of the weight, that one site, person or added set may have
    max_mix_change: float = 0.15  # share of the crops that have another digit or site than before
    stop_on_quarantine: bool = False  # else training goes on without the source


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that validation found; `rows` are of the training part, those of `stop` as said."""

    check: str
    severity: Severity
    text: str
    rows: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class ValidationReport:
    """What may be trained on, and why not the rest."""

    findings: tuple[Finding, ...]
    quarantined: tuple[Quarantined, ...]
    keep: NDArray[np.bool_]  # (N,) rows of the training part to train on
    weights: NDArray[np.float64]  # (N,) with the influence limit
    likely_wrong: NDArray[np.intp]  # rows for a second person, the likeliest wrong first
    people: tuple[Annotator, ...]

    @property
    def is_refused(self) -> bool:
        """Whether nothing may be trained on."""
        return any(one.severity == "stop" for one in self.findings)

    @property
    def verdict(self) -> str:
        """One sentence: train or not, on how many crops, without whom."""
        if self.is_refused:
            return "refused: " + "; ".join(
                one.text for one in self.findings if one.severity == "stop"
            )
        text = f"train on {self.keep.sum()} of {len(self.keep)} crops"
        if self.quarantined:
            text += "; quarantined: " + "; ".join(map(str, self.quarantined))
        return text

    def accepted(self, train: MailCrops) -> MailCrops:
        """The rows to train on, with the weights that the influence limit leaves."""
        return replace(train, weights=self.weights).take(self.keep)


def validate(
    train: MailCrops,
    test: MailCrops,
    probs: NDArray[np.float64],
    *,
    parent: MailCrops | None = None,
    limits: Limits | None = None,
) -> ValidationReport:
    """Judge labelled mail before it is trained on.

    Args:
        train: rows in the order in which they came.
        test: the frozen share.
        probs: (N, 10) of the champion, for the rows of `train`.
        parent: the training part of the snapshot before; None: its mix is not compared.
        limits: when a finding is made; None: the defaults.

    Raises:
        ValueError: `probs` does not fit `train`.
    """
    if probs.shape != (len(train), 10):
        raise ValueError(f"probs has shape {probs.shape}; expected ({len(train)}, 10)")
    limits = limits or Limits()
    keep = np.ones(len(train), bool)
    nobody = np.empty(0, np.intp)
    if schema := tuple(_schema("train", train)) + tuple(_schema("test", test)):
        return ValidationReport(schema, (), ~keep, train.weights, nobody, ())
    findings = [*_duplicates(train, keep), *_leakage(train, test, keep)]
    quarantined = tuple(judge_sources(train, probs, keep))
    for one in quarantined:
        keep[one.source.rows] = False
        severity: Severity = "stop" if limits.stop_on_quarantine else "watch"
        findings.append(Finding("poisoned source", severity, f"{one} ({_of(one)})"))
    kept = np.flatnonzero(keep)
    wrong = kept[likely_wrong(train.labels[kept], probs[kept])]
    findings += _set_aside(train, probs, keep, wrong)
    findings += _mix(train.take(keep), parent, limits)
    weights, over = _limit_influence(train, keep, limits)
    people = annotators(train, probs, wrong)
    return ValidationReport((*findings, *over), quarantined, keep, weights, wrong, people)


def _of(one: Quarantined) -> str:
    return f"{len(one.source.rows)} of its {one.num_of_source} crops are left out"


def _schema(part: str, mail: MailCrops) -> Iterator[Finding]:
    """Values that training cannot use; the row is that of the part's file."""
    for row in np.flatnonzero(mail.labels > 9)[:_SHOWN]:
        text = f"{part}, row {row}: label {mail.labels[row]}; labels are 0 to 9"
        yield Finding("schema", "stop", text, (int(row),))
    for row in np.flatnonzero(~np.isfinite(mail.weights) | (mail.weights <= 0))[:_SHOWN]:
        text = f"{part}, row {row}: weight {mail.weights[row]}; weights are above 0"
        yield Finding("schema", "stop", text, (int(row),))
    if mail.images.shape[1:] != (28, 28) or mail.images.dtype != np.uint8:
        yield Finding("schema", "stop", f"{part}: images {mail.images.shape}, not (N, 28, 28)")


def _duplicates(train: MailCrops, keep: NDArray[np.bool_]) -> Iterator[Finding]:
    """Of equal crops with one label the first stays; with several labels, none."""
    flat = [image.tobytes() for image in train.images]
    first, second = near_pairs(train.images, train.images)
    later = first < second
    first, second = first[later], second[later]
    pairs = zip(first, second, strict=True)
    is_equal = np.array([flat[one] == flat[other] for one, other in pairs], bool)
    same_label = train.labels[first] == train.labels[second]
    repeated = np.unique(second[is_equal & same_label])
    keep[repeated] = False
    if len(repeated):
        text = f"{len(repeated)} crops are there a second time; the first stays"
        yield _rows("exact duplicates", text, repeated)
    disputed = np.unique(np.concatenate([first[~same_label], second[~same_label]]))
    keep[disputed] = False
    if len(disputed):
        text = f"{len(disputed)} crops look alike and have different labels; left out, ask a third"
        yield _rows("duplicates that disagree", text, disputed, "watch")
    near = np.unique(second[~is_equal & same_label])
    if len(near):
        yield _rows("near duplicates", f"{len(near)} crops look like an earlier one", near)


def _leakage(train: MailCrops, test: MailCrops, keep: NDArray[np.bool_]) -> Iterator[Finding]:
    leaked = np.unique(near_pairs(train.images, test.images)[0])
    keep[leaked] = False
    if len(leaked):
        text = f"{len(leaked)} crops look like one of the test share; they are left out"
        yield _rows("leakage", text, leaked, "watch")


def _set_aside(
    train: MailCrops, probs: NDArray[np.float64], keep: NDArray[np.bool_], wrong: NDArray[np.intp]
) -> Iterator[Finding]:
    if len(wrong):
        text = f"{len(wrong)} labels are likely wrong; show them to a second person"
        yield _rows("label noise", text, wrong, "watch")
    aside = np.flatnonzero(keep & surely_wrong(train, probs))
    keep[aside] = False
    if len(aside):
        text = f"{len(aside)} labels contradict a certain champion; left out until a second key"
        yield _rows("set aside", text, aside, "watch")


def _mix(train: MailCrops, parent: MailCrops | None, limits: Limits) -> Iterator[Finding]:
    """Digits and sites against the snapshot before."""
    if parent is None or not len(parent) or not len(train):
        return
    for what, now, before in (
        ("digits", train.labels, parent.labels),
        ("sites", train.sites, parent.sites),
    ):
        names = np.union1d(now, before)
        change = np.array([(now == name).mean() - (before == name).mean() for name in names])
        moved = float(np.abs(change).sum() / 2)
        most = names[np.abs(change).argmax()]
        if moved > limits.max_mix_change:
            text = f"{moved:.0%} of the crops have other {what} than before, most of all {most}"
            yield Finding(f"mix of {what}", "watch", text)
    for site in sorted(set(parent.sites) - set(train.sites)):
        yield Finding("mix of sites", "watch", f"site {site} has no crop any more")
    for site in sorted(set(train.sites) - set(parent.sites)):
        yield Finding("mix of sites", "note", f"site {site} is new")


def _limit_influence(
    train: MailCrops, keep: NDArray[np.bool_], limits: Limits
) -> tuple[NDArray[np.float64], list[Finding]]:
    """Scale down the weight of a source that has more than its share; there must be others."""
    weights, findings = train.weights.copy(), []
    for source in sources_of(train):
        own = np.zeros(len(train), bool)
        own[source.rows] = True
        of_source, of_rest = weights[keep & own].sum(), weights[keep & ~own].sum()
        share = of_source / max(of_source + of_rest, 1e-12)
        if share <= limits.max_source_frac or of_rest == 0:
            continue
        most = limits.max_source_frac / (1 - limits.max_source_frac) * of_rest
        weights[own] *= most / of_source
        text = f"{source} has {share:.0%} of the weight; lowered to {limits.max_source_frac:.0%}"
        findings.append(Finding("influence", "watch", text))
    return weights, findings


def _rows(check: str, text: str, rows: NDArray[np.intp], severity: Severity = "note") -> Finding:
    return Finding(check, severity, text, tuple(map(int, rows)))


def name_rows(finding: Finding, ids: Strings) -> str:
    """The first rows of a finding by the names of their crops."""
    named = ", ".join(str(ids[row]) for row in finding.rows[:_SHOWN])
    more = len(finding.rows) - _SHOWN
    return named + (f" and {more} more" if more > 0 else "")
