"""Reference and current rows -> findings and one severity. Pure.

A distance never raises severity to ACT, because a harmless new pen or scanner exceeds its limit.
Rejects and wrong labelled reads do, because they cost the post office money. The measured false
alarms and power of the rules: docs/measurements/drift-power-2026-11-21.md.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from capture.reference import Reference
from monitoring.distances import binomial_p, class_mix_p, jensen_shannon, measure_distances
from monitoring.findings import Assessment, Finding, Severity, in_words, rank
from monitoring.gaps import fill_gaps, find_gaps, is_blank, is_rejected, not_judged
from monitoring.site_rules import judge_sites

MIN_RECORDS: Final = 500  # with fewer, every rule is noise
DISTANCE_LIMIT: Final = 0.2  # Wasserstein distance over the reference's standard deviation
CLASS_MIX_P: Final = 0.01
POLARITY_LIMIT: Final = 0.1  # Jensen-Shannon distance, square root of nats
REJECT_WATCH_P: Final = 0.01
REJECT_ACT_P: Final = 0.001
# Of reads, above the reference's share. Digits of new writers are rejected 2 points more often than
# validation digits, whose writers training has seen (monitoring/studies/power.py, clean windows).
REJECT_WATCH_EXCESS: Final = 0.04
REJECT_ACT_EXCESS: Final = 0.06
# Of all crops. The reference has no blank crops, and each counts as rejected: the same excesses.
BLANK_WATCH_SHARE: Final = REJECT_WATCH_EXCESS
BLANK_ACT_SHARE: Final = REJECT_ACT_EXCESS
MIN_LABELS: Final = 100
LABEL_P: Final = 0.01
CONFIDENCE_GAP_LIMIT: Final = 0.03  # mean confidence minus accuracy, of labelled reads
MISSING_EXCESS: Final = 0.01
P99_LIMIT_MS: Final = 100.0  # p99_ms of contract/slo.toml; a test holds them equal


def assess(
    current: pd.DataFrame,
    reference: Reference,
    by_site: pd.DataFrame | None = None,
    labelled: pd.DataFrame | None = None,
) -> Assessment:
    """Judge a window. A column without a value is named in `not_judged` and stops no other rule.

    Args:
        current: a uniform sample: columns NUMERIC, CATEGORICAL, accepted, rejected_because,
            threshold, total_ms, site, and label (missing where none arrived).
        reference: of the champion, or a week of mail that it read.
        by_site: a sample with more rows of small sites, in random order; `current` when None.
        labelled: the audited crops of the window; those of `current` with a label when None.
    """
    if len(current) < MIN_RECORDS:
        return Assessment(num_records=len(current), enough=False, severity=Severity.CALM)
    by_site, labelled = (
        fill_gaps(current if rows is None else rows) for rows in (by_site, labelled)
    )
    current, expected_rows = fill_gaps(current), fill_gaps(reference.rows)
    threshold = threshold_of(current, reference)
    rejected, expected = is_rejected(current), reference.is_rejected(threshold)
    judged = _labelled_accepted(labelled)
    baselines = None if reference.of_sites is None else fill_gaps(reference.of_sites)
    sites, site_findings = judge_sites(by_site, expected_rows, baselines)
    of_mail = _judge_mail(current, expected_rows, expected)
    named = {one.site for one in sites if one.named}
    rest = current[~current["site"].isin(named)]
    of_rest = _judge_mail(rest, expected_rows, expected) if len(rest) >= MIN_RECORDS else of_mail
    findings = rank(
        [*_judge_labels(judged, reference.accepted_errors(threshold)), *of_mail],
        site_findings,
        remaining=of_rest,
    )
    p99_ms = float(current["total_ms"].quantile(0.99))
    return Assessment(
        num_records=len(current),
        enough=True,
        severity=max((one.severity for one in findings), default=Severity.CALM),
        findings=findings,
        not_judged=tuple(not_judged(current)),
        distances=measure_distances(current, expected_rows),
        sites=sites,
        blank_share=float(is_blank(current).mean()),
        reject_share=_mean(rejected),
        expected_reject_share=_mean(expected),
        p99_ms=p99_ms,
        num_labels=len(judged),
        accuracy=_mean((judged["digit"] == judged["label"]).to_numpy(bool)),
        mean_confidence=float(judged["confidence"].mean()),
    )


def _judge_mail(
    current: pd.DataFrame, reference: pd.DataFrame, expected: NDArray[np.bool_]
) -> list[Finding]:
    """Judge all sites together, without labels."""
    return [
        *_judge_blanks(current),
        *_judge_rejects(is_rejected(current), expected),
        *_judge_mix(current, reference),
        *_judge_missing(current, reference),
        *_judge_latency(float(current["total_ms"].quantile(0.99))),
        *_judge_distances(measure_distances(current, reference)),
    ]


def threshold_of(current: pd.DataFrame, reference: Reference) -> float:
    """The window's accept threshold; the reference's own where no row has one."""
    threshold = float(current["threshold"].median())
    return threshold if np.isfinite(threshold) else reference.threshold


def _mean(flags: NDArray[np.bool_]) -> float:
    return float(flags.mean()) if len(flags) else float("nan")


def _judge_distances(distances: dict[str, float]) -> Iterator[Finding]:
    for name, distance in sorted(distances.items(), key=lambda item: -item[1]):
        if distance > DISTANCE_LIMIT:
            text = f"{in_words(name)} moved by {distance:.2f} standard deviations of the reference"
            yield Finding("distance", name, distance, DISTANCE_LIMIT, Severity.WATCH, text)


def _judge_mix(current: pd.DataFrame, reference: pd.DataFrame) -> Iterator[Finding]:
    p = class_mix_p(current["digit"], reference["digit"])
    if p < CLASS_MIX_P:
        share = current["digit"].value_counts(normalize=True)
        change = (share - reference["digit"].value_counts(normalize=True)).dropna()
        most = change.abs().idxmax()
        text = f"the mix of digits changed (p = {p:.1g}); most of all {most}, {change[most]:+.1%}"
        yield Finding("class_mix", "digit", p, CLASS_MIX_P, Severity.WATCH, text)
    distance = jensen_shannon(current["polarity"], reference["polarity"])
    if distance > POLARITY_LIMIT:
        share_light = float((current["polarity"].dropna() == "light ink").mean())
        text = f"{share_light:.0%} of crops are light ink on dark paper"
        yield Finding("polarity", "polarity", distance, POLARITY_LIMIT, Severity.WATCH, text)


def _judge_blanks(current: pd.DataFrame) -> Iterator[Finding]:
    num_blank = int(is_blank(current).sum())
    share = num_blank / len(current)
    text = f"{share:.1%} of crops are blank ({num_blank:,} of {len(current):,})"
    for severity, limit in (
        (Severity.ACT, BLANK_ACT_SHARE),
        (Severity.WATCH, BLANK_WATCH_SHARE),
    ):
        if share > limit:
            yield Finding("blanks", "blank share", share, limit, severity, text)
            return


def _judge_rejects(rejected: NDArray[np.bool_], reference: NDArray[np.bool_]) -> Iterator[Finding]:
    """Binomial test and a minimum excess: in a large sample a tiny excess is significant."""
    if not len(rejected):
        return
    share, expected = float(rejected.mean()), float(reference.mean())
    p = binomial_p(rejected, reference)
    text = f"{share:.1%} of crops are rejected; {expected:.1%} is expected from the reference"
    for severity, limit_p, excess in (
        (Severity.ACT, REJECT_ACT_P, REJECT_ACT_EXCESS),
        (Severity.WATCH, REJECT_WATCH_P, REJECT_WATCH_EXCESS),
    ):
        if p < limit_p and share - expected > excess:
            yield Finding("rejects", "reject share", share, expected + excess, severity, text)
            return


def _labelled_accepted(current: pd.DataFrame) -> pd.DataFrame:
    known = current[current["label"].notna() & current["accepted"].notna()]
    return known[known["accepted"].astype(bool)]


def _judge_labels(labelled: pd.DataFrame, reference: NDArray[np.bool_]) -> Iterator[Finding]:
    """Judge audited reads only: other labels are no random sample of accepted reads."""
    if len(labelled) < MIN_LABELS or not len(reference):
        return
    wrong = (labelled["digit"] != labelled["label"]).to_numpy(bool)
    error, expected = float(wrong.mean()), float(reference.mean())
    if binomial_p(wrong, reference) < LABEL_P:
        text = (
            f"{int(wrong.sum())} of {len(wrong)} audited accepted reads are wrong "
            f"({error:.2%}; {expected:.2%} on validation data)"
        )
        yield Finding("labels", "accepted error", error, expected, Severity.ACT, text)
    gap = float(labelled["confidence"].mean()) - (1 - error)
    if gap > CONFIDENCE_GAP_LIMIT:
        text = f"confidence exceeds accuracy by {gap:.1%} on audited accepted reads"
        yield Finding("confidence", "gap", gap, CONFIDENCE_GAP_LIMIT, Severity.ACT, text)


def _judge_missing(current: pd.DataFrame, reference: pd.DataFrame) -> Iterator[Finding]:
    for gap in find_gaps(current, reference):
        if gap.excess > MISSING_EXCESS:
            where = f"in {gap.num_missing:,} of {gap.num_inked:,} crops with ink"
            text = f"column {gap.column} has no value {where}"
            yield Finding("missing", gap.column, gap.excess, MISSING_EXCESS, Severity.WATCH, text)


def _judge_latency(p99_ms: float) -> Iterator[Finding]:
    if p99_ms > P99_LIMIT_MS:
        text = (
            f"p99 latency inside the service is {p99_ms:.0f} ms; the limit is {P99_LIMIT_MS:.0f} ms"
        )
        yield Finding("latency", "total_ms", p99_ms, P99_LIMIT_MS, Severity.WATCH, text)
