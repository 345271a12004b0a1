"""Reference x current -> findings and one severity. Pure: the numbers come in, a verdict goes out.

Distances inform and never page: any harmless new pen or scanner trips them. What pages is what
costs the post office: rejects, and reads that labels prove wrong. The limits' false-alarm rates
and power are measured in docs/monitoring.md.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from capture.reference import CATEGORICAL, NUMERIC, Reference

MIN_RECORDS: Final = 500  # below it every rule is noise
DISTANCE_LIMIT: Final = 0.2  # Wasserstein distance over the reference's standard deviation
CLASS_MIX_P: Final = 0.01
POLARITY_LIMIT: Final = 0.1  # Jensen-Shannon distance, in nats' root
REJECT_WATCH_P: Final = 0.01
REJECT_ACT_P: Final = 0.001
# Of reads, above the reference's share. New writers' digits are refused two points more often than
# validation digits, whose writers training has seen (monitoring/studies/power.py, clean windows).
REJECT_WATCH_EXCESS: Final = 0.04
REJECT_ACT_EXCESS: Final = 0.06
MIN_LABELS: Final = 100
LABEL_P: Final = 0.01
CONFIDENCE_GAP_LIMIT: Final = 0.03  # mean confidence minus accuracy, of labelled reads
MISSING_EXCESS: Final = 0.01
P99_LIMIT_MS: Final = 100.0  # the service-level objective
MIN_SITE_RECORDS: Final = 200
SITE_DISTANCE_LIMIT: Final = 0.35
SITE_REJECT_P: Final = 0.001  # before it is divided by the number of sites
SITE_REJECT_EXCESS: Final = 0.02
MOST_NAMED_SITES: Final = 10
FEW_SITES: Final = 1 / 3  # of the sites: more that stand out may be the clean ones
MOST_PEER_ROWS: Final = 5_000  # of the other sites, in a comparison: more see no better

_SMALLEST_STD = 0.001  # as Evidently norms a constant column


class Severity(IntEnum):
    """How bad it is. The values are the metric DriftSeverity."""

    CALM = 0
    WATCH = 1
    ACT = 2


@dataclass(frozen=True, slots=True)
class Finding:
    """One rule that fired."""

    rule: str  # distance | class_mix | polarity | rejects | labels | confidence | missing | ...
    subject: str  # the feature or number
    value: float
    limit: float
    severity: Severity
    text: str
    site: str | None = None


@dataclass(frozen=True, slots=True)
class SiteSummary:
    """One site beside the others."""

    site: str
    num_records: int
    reject_share: float
    distance: float  # largest normed distance from the other sites, over image features
    feature: str  # the feature it was largest in
    named: bool  # whether a rule names it


@dataclass(frozen=True, slots=True)
class Assessment:
    """What the rules say about a window."""

    num_records: int
    enough: bool  # False: fewer than MIN_RECORDS, nothing else is filled
    severity: Severity
    findings: tuple[Finding, ...] = ()
    distances: dict[str, float] = field(default_factory=dict)
    sites: tuple[SiteSummary, ...] = ()
    reject_share: float = float("nan")
    expected_reject_share: float = float("nan")
    p99_ms: float = float("nan")
    num_labels: int = 0
    accuracy: float = float("nan")  # of labelled accepted reads
    mean_confidence: float = float("nan")  # of the same; above the accuracy it promises too much


def assess(
    current: pd.DataFrame,
    reference: Reference,
    by_site: pd.DataFrame | None = None,
    labelled: pd.DataFrame | None = None,
) -> Assessment:
    """Judge a window.

    Args:
        current: a fair sample: columns NUMERIC, CATEGORICAL, accepted, threshold, total_ms,
            site, and label (missing where none arrived).
        reference: the champion's.
        by_site: a sample with more rows of small sites, in random order; `current` when None.
        labelled: every labelled row of the window; those of `current` when None.
    """
    if len(current) < MIN_RECORDS:
        return Assessment(num_records=len(current), enough=False, severity=Severity.CALM)
    threshold = float(current["threshold"].median())
    distances = measure_distances(current, reference.rows)
    findings = [*_judge_distances(distances), *_judge_mix(current, reference.rows)]
    rejected = ~current["accepted"].to_numpy(bool)
    expected = reference.is_rejected(threshold)
    findings += _judge_rejects(rejected, expected)
    judged = _labelled_accepted(current if labelled is None else labelled)
    findings += _judge_labels(judged, reference.accepted_errors(threshold))
    findings += _judge_missing(current, reference.rows)
    p99_ms = float(current["total_ms"].quantile(0.99))
    findings += _judge_latency(p99_ms)
    sites, site_findings = judge_sites(current if by_site is None else by_site, reference.rows)
    findings += site_findings
    return Assessment(
        num_records=len(current),
        enough=True,
        severity=max((one.severity for one in findings), default=Severity.CALM),
        findings=tuple(sorted(findings, key=lambda one: (-one.severity, one.rule == "distance"))),
        distances=distances,
        sites=sites,
        reject_share=float(rejected.mean()),
        expected_reject_share=float(expected.mean()),
        p99_ms=p99_ms,
        num_labels=len(judged),
        accuracy=float((judged["digit"] == judged["label"]).mean()),
        mean_confidence=float(judged["confidence"].mean()),
    )


def in_words(name: str) -> str:
    """A column's name as people say it: ``stroke_width_px`` is stroke width."""
    return re.sub(r"_(px|deg|ms)$", "", name).replace("_", " ")


def measure_distances(current: pd.DataFrame, reference: pd.DataFrame) -> dict[str, float]:
    """Normed Wasserstein distance of each numeric column that both sides have values in."""
    return {
        name: distance
        for name in NUMERIC
        if np.isfinite(distance := normed_distance(current[name], reference[name]))
    }


def normed_distance(current: pd.Series, reference: pd.Series) -> float:
    """Wasserstein distance over the reference's standard deviation; NaN when a side is empty.

    Source:
        Evidently's `wasserstein` drift method, which the report uses; a test holds them equal.
    """
    ours, theirs = current.dropna().to_numpy(float), reference.dropna().to_numpy(float)
    if not (len(ours) and len(theirs)):
        return float("nan")
    norm = max(float(theirs.std()), _SMALLEST_STD)
    return float(stats.wasserstein_distance(theirs, ours)) / norm


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
    distance = _jensen_shannon(current["polarity"], reference["polarity"])
    if distance > POLARITY_LIMIT:
        share_light = float((current["polarity"] == "light ink").mean())
        text = f"{share_light:.0%} of crops are light ink on dark paper"
        yield Finding("polarity", "polarity", distance, POLARITY_LIMIT, Severity.WATCH, text)


def class_mix_p(current: pd.Series, reference: pd.Series) -> float:
    """Chi-squared test that both have the same mix, as a table of counts: both are samples."""
    ours, theirs = current.dropna().value_counts(), reference.dropna().value_counts()
    names = ours.index.union(theirs.index)
    table = np.stack([ours.reindex(names, fill_value=0), theirs.reindex(names, fill_value=0)])
    if table.shape[1] < 2:
        return 1.0
    return float(stats.chi2_contingency(table).pvalue)


def _jensen_shannon(current: pd.Series, reference: pd.Series) -> float:
    ours = current.dropna().value_counts(normalize=True)
    theirs = reference.dropna().value_counts(normalize=True)
    names = ours.index.union(theirs.index)
    p, q = (side.reindex(names, fill_value=0).to_numpy() for side in (ours, theirs))
    mean = (p + q) / 2
    return float(np.sqrt((stats.entropy(p, mean) + stats.entropy(q, mean)) / 2))


def _judge_rejects(rejected: NDArray[np.bool_], reference: NDArray[np.bool_]) -> Iterator[Finding]:
    """Binomial test on the share, and an excess worth a person's time: big samples see too much."""
    share, expected = float(rejected.mean()), float(reference.mean())
    p = _binomial_p(rejected, reference)
    text = f"{share:.1%} of crops are rejected; {expected:.1%} were on validation data"
    for severity, limit_p, excess in (
        (Severity.ACT, REJECT_ACT_P, REJECT_ACT_EXCESS),
        (Severity.WATCH, REJECT_WATCH_P, REJECT_WATCH_EXCESS),
    ):
        if p < limit_p and share - expected > excess:
            yield Finding("rejects", "reject share", share, expected + excess, severity, text)
            return


def _binomial_p(current: NDArray[np.bool_], reference: NDArray[np.bool_]) -> float:
    """How likely so many are by chance, if the true share is as high as the reference allows.

    The reference is a sample too: its upper 95 % bound is taken, not its share.
    """
    known = stats.binomtest(int(reference.sum()), len(reference))
    highest = known.proportion_ci(confidence_level=0.9).high
    test = stats.binomtest(int(current.sum()), len(current), highest, alternative="greater")
    return float(test.pvalue)


def _labelled_accepted(current: pd.DataFrame) -> pd.DataFrame:
    return current[current["label"].notna() & current["accepted"].astype(bool)]


def _judge_labels(labelled: pd.DataFrame, reference: NDArray[np.bool_]) -> Iterator[Finding]:
    """Accepted reads only: labels come mostly from rejected ones, which reach a person anyway."""
    if len(labelled) < MIN_LABELS or not len(reference):
        return
    wrong = (labelled["digit"] != labelled["label"]).to_numpy(bool)
    error, expected = float(wrong.mean()), float(reference.mean())
    if _binomial_p(wrong, reference) < LABEL_P:
        text = (
            f"{int(wrong.sum())} of {len(wrong)} labelled accepted reads are wrong "
            f"({error:.2%}; {expected:.2%} on validation data)"
        )
        yield Finding("labels", "accepted error", error, expected, Severity.ACT, text)
    gap = float(labelled["confidence"].mean()) - (1 - error)
    if gap > CONFIDENCE_GAP_LIMIT:
        text = f"confidence exceeds accuracy by {gap:.1%} on labelled accepted reads"
        yield Finding("confidence", "gap", gap, CONFIDENCE_GAP_LIMIT, Severity.ACT, text)


def _judge_missing(current: pd.DataFrame, reference: pd.DataFrame) -> Iterator[Finding]:
    """Missing everywhere is a setting (originals not kept); missing sometimes is a fault."""
    for name in (*NUMERIC, *CATEGORICAL):
        share = float(current[name].isna().mean())
        excess = share - float(reference[name].isna().mean())
        if share < 1 and excess > MISSING_EXCESS:
            text = f"{in_words(name)} is missing in {share:.1%} of records"
            yield Finding("missing", name, share, MISSING_EXCESS, Severity.WATCH, text)


def _judge_latency(p99_ms: float) -> Iterator[Finding]:
    if p99_ms > P99_LIMIT_MS:
        text = f"1 % of answers took longer than {p99_ms:.0f} ms inside the service"
        yield Finding("latency", "total_ms", p99_ms, P99_LIMIT_MS, Severity.WATCH, text)


def judge_sites(
    rows: pd.DataFrame, reference: pd.DataFrame
) -> tuple[tuple[SiteSummary, ...], list[Finding]]:
    """Compare each site with all the others.

    The site that stands out most is named and taken out of the others' comparison, again and
    again, so that one dirty lens does not make the clean sites look odd. Where more than a few
    stand out it may be the clean ones, among others that changed: then only those are named that
    are far from the reference, too.
    """
    counts = rows["site"].value_counts()
    judged = sorted(counts[counts >= MIN_SITE_RECORDS].index)
    summaries, findings = _name_sites(judged, rows, reference, by_reference=len(judged) == 2)
    num_named = sum(one.named for one in summaries)
    if num_named > len(judged) * FEW_SITES or num_named == MOST_NAMED_SITES:
        return _name_sites(judged, rows, reference, by_reference=True)
    return summaries, findings


def _name_sites(
    judged: list[str], rows: pd.DataFrame, reference: pd.DataFrame, *, by_reference: bool
) -> tuple[tuple[SiteSummary, ...], list[Finding]]:
    pool = list(judged)
    num_named = 0
    summaries: dict[str, SiteSummary] = {}
    findings: list[Finding] = []
    while pool:
        peers = rows[rows["site"].isin(pool)]
        compared = {
            site: _compare_site(
                site,
                peers[peers["site"] == site],
                peers[peers["site"] != site],
                reference if by_reference else None,
                num_sites=len(judged),
            )
            for site in pool
        }
        worst = max(pool, key=lambda site: compared[site].strength)
        if num_named == MOST_NAMED_SITES or compared[worst].strength <= 1:
            summaries |= {site: compared[site].summary for site in pool}
            break
        summaries[worst] = compared[worst].summary
        findings.extend(compared[worst].findings)
        num_named += 1
        pool.remove(worst)
    return tuple(summaries[site] for site in judged), findings


@dataclass(frozen=True, slots=True)
class _Comparison:
    strength: float  # above 1 when a rule names the site; larger stands out more
    summary: SiteSummary
    findings: tuple[Finding, ...]


def _compare_site(
    site: str,
    mine: pd.DataFrame,
    others: pd.DataFrame,
    reference: pd.DataFrame | None,  # None: the others alone tell
    *,
    num_sites: int,
) -> _Comparison:
    distances = measure_distances(mine, others.head(MOST_PEER_ROWS))
    if reference is not None:
        from_reference = measure_distances(mine, reference)
        distances = {
            name: min(distance, from_reference.get(name, 0.0))
            for name, distance in distances.items()
        }
    feature = max(distances, key=lambda name: distances[name], default="")
    distance = distances.get(feature, 0.0)
    findings = []
    if distance > SITE_DISTANCE_LIMIT:
        text = (
            f"site {site}: {in_words(feature)} is {distance:.2f} standard deviations "
            "from the other sites"
        )
        findings.append(
            Finding("site", feature, distance, SITE_DISTANCE_LIMIT, Severity.WATCH, text, site)
        )
    share = float((~mine["accepted"].astype(bool)).mean())
    usual = float((~others["accepted"].astype(bool)).mean()) if len(others) else share
    excess = _site_reject_excess(mine, share, usual, num_sites=num_sites)
    if excess > 1:
        text = f"site {site} rejects {share:.1%} of its crops; the other sites {usual:.1%}"
        limit = usual + SITE_REJECT_EXCESS
        findings.append(Finding("site", "reject share", share, limit, Severity.ACT, text, site))
    return _Comparison(
        strength=max(distance / SITE_DISTANCE_LIMIT, excess),
        summary=SiteSummary(site, len(mine), share, distance, feature, bool(findings)),
        findings=tuple(findings),
    )


def _site_reject_excess(mine: pd.DataFrame, share: float, usual: float, *, num_sites: int) -> float:
    """The excess over its limit when it is significant among so many sites, otherwise 0."""
    num_rejected = int((~mine["accepted"].astype(bool)).sum())
    test = stats.binomtest(num_rejected, len(mine), usual, alternative="greater")
    if test.pvalue >= SITE_REJECT_P / num_sites:
        return 0.0
    return (share - usual) / SITE_REJECT_EXCESS
