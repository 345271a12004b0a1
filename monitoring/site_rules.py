"""Compares each site with the others: which sites get a finding, and why. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import pandas as pd
from scipy import stats

from capture.features import CROP_FEATURES, IMAGE_FEATURES, SCORE_FEATURES
from monitoring.distances import measure_distances
from monitoring.findings import Finding, Severity, SiteSummary, in_words
from monitoring.gaps import is_blank, is_rejected

MIN_SITE_RECORDS: Final = 200
MIN_BLANK_RECORDS: Final = 50  # a site that sends nothing but paper is certain from fewer
SITE_BLANK_LIMIT: Final = 0.25  # of a site's crops, whatever the other sites send
SITE_DISTANCE_LIMIT: Final = 0.35
SITE_REJECT_P: Final = 0.001  # divided by the number of sites (Bonferroni)
SITE_REJECT_EXCESS: Final = 0.02
MOST_NAMED_SITES: Final = 10
FEW_SITES: Final = 1 / 3  # of the sites: if more differ, the clean ones may be among them
LOOKS: Final = {  # what a site's most different feature tells of it, for people
    **dict.fromkeys(IMAGE_FEATURES, "writes with another pen"),
    **dict.fromkeys(CROP_FEATURES, "looks dirty"),
    **dict.fromkeys(("height_px", "margin"), "cuts its crops differently"),
    "aspect": "writes differently",
    "num_dropped": "looks dirty",
    **dict.fromkeys(("confidence", *SCORE_FEATURES, "garbage"), "is hard to read"),
}
MOST_PEER_ROWS: Final = 5_000  # of the other sites, in a comparison: more rows gain no power


def judge_sites(
    rows: pd.DataFrame, reference: pd.DataFrame, baselines: pd.DataFrame | None = None
) -> tuple[tuple[SiteSummary, ...], list[Finding]]:
    """Name the sites that send blank crops, then compare each of the rest with all the others.

    Args:
        rows: as `gaps.fill_gaps` returns them.
        reference: the same.
        baselines: of a clean week: a site that is as it was then is not named, however much it
            differs from the others. None: there is no such week.
    """
    counts = rows["site"].value_counts()
    blank_shares = pd.Series(is_blank(rows)).groupby(rows["site"]).mean()
    is_dark = (blank_shares > SITE_BLANK_LIMIT) & (counts >= MIN_BLANK_RECORDS)
    dark = sorted(is_dark.index[is_dark])
    judged = sorted(counts[(counts >= MIN_SITE_RECORDS) & ~is_dark].index)
    blanks = [_blank_site(site, rows[rows["site"] == site]) for site in dark]
    summaries, findings = _compare_sites(judged, rows, reference, baselines)
    return (
        tuple(sorted((*(one for one, _ in blanks), *summaries), key=lambda one: one.site)),
        [*(finding for _, finding in blanks), *findings],
    )


def _blank_site(site: str, mine: pd.DataFrame) -> tuple[SiteSummary, Finding]:
    num_blank = int(is_blank(mine).sum())
    share = num_blank / len(mine)
    text = f"site {site}: {num_blank:,} of {len(mine):,} crops are blank"
    summary = SiteSummary(site, len(mine), _reject_share(mine), 0.0, "", named=True)
    return summary, Finding(
        "blanks", "blank share", share, SITE_BLANK_LIMIT, Severity.ACT, text, site
    )


def _compare_sites(
    judged: list[str],
    rows: pd.DataFrame,
    reference: pd.DataFrame,
    baselines: pd.DataFrame | None,
) -> tuple[tuple[SiteSummary, ...], list[Finding]]:
    """Compare each site with all the others.

    The site that differs most gets a finding and leaves the comparison; this repeats until no
    site differs. Otherwise one dirty lens would make the clean sites differ too. If more than
    `FEW_SITES` differ, the clean sites may be the minority: then a site needs to be far from the
    reference as well.
    """
    of_site = _by_site(judged, baselines)
    by_reference = len(judged) == 2
    summaries, findings = _name_sites(judged, rows, reference, of_site, by_reference=by_reference)
    num_named = sum(one.named for one in summaries)
    if num_named > len(judged) * FEW_SITES or num_named == MOST_NAMED_SITES:
        return _name_sites(judged, rows, reference, of_site, by_reference=True)
    return summaries, findings


def _by_site(judged: list[str], baselines: pd.DataFrame | None) -> dict[str, pd.DataFrame]:
    """The baseline of each site that has enough crops in it."""
    if baselines is None:
        return {}
    found = {site: baselines[baselines["site"] == site] for site in judged}
    return {site: rows for site, rows in found.items() if len(rows) >= MIN_SITE_RECORDS}


def _name_sites(
    judged: list[str],
    rows: pd.DataFrame,
    reference: pd.DataFrame,
    of_site: dict[str, pd.DataFrame],
    *,
    by_reference: bool,
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
                of_site.get(site),
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
    strength: float  # above 1 when a rule fired; the largest differs most
    summary: SiteSummary
    findings: tuple[Finding, ...]


def _compare_site(
    site: str,
    mine: pd.DataFrame,
    others: pd.DataFrame,
    reference: pd.DataFrame | None,  # None: compare with the other sites only
    baseline: pd.DataFrame | None,  # of this site
    *,
    num_sites: int,
) -> _Comparison:
    distances = measure_distances(mine, others.head(MOST_PEER_ROWS))
    for expected in (reference, baseline):
        if expected is not None:
            also = measure_distances(mine, expected)
            distances = {name: min(far, also.get(name, 0.0)) for name, far in distances.items()}
    feature = max(distances, key=lambda name: distances[name], default="")
    distance = distances.get(feature, 0.0)
    findings = []
    looks = ""
    if distance > SITE_DISTANCE_LIMIT:
        looks = f" {LOOKS[feature]}:"
        text = (
            f"site {site}{looks} {in_words(feature)} {mine[feature].median():.3g} beside "
            f"{others[feature].median():.3g}, {distance:.2f} standard deviations from "
            f"{'the other sites' if baseline is None else 'the other sites and its own baseline'}"
        )
        findings.append(
            Finding("site", feature, distance, SITE_DISTANCE_LIMIT, Severity.WATCH, text, site)
        )
    share = _reject_share(mine)
    usual = _reject_share(others) if len(others) else share
    if baseline is not None:
        usual = max(usual, _reject_share(baseline))
    excess = _site_reject_excess(mine, share, usual, num_sites=num_sites)
    if excess > 1:
        text = (
            f"site {site}{looks} it rejects {share:.1%} of its crops; the other sites {usual:.1%}"
            if looks
            else f"site {site} rejects {share:.1%} of its crops; the other sites reject {usual:.1%}"
        )
        limit = usual + SITE_REJECT_EXCESS
        findings.append(Finding("site", "reject share", share, limit, Severity.ACT, text, site))
    return _Comparison(
        strength=max(distance / SITE_DISTANCE_LIMIT, excess),
        summary=SiteSummary(site, len(mine), share, distance, feature, bool(findings)),
        findings=tuple(findings),
    )


def _site_reject_excess(mine: pd.DataFrame, share: float, usual: float, *, num_sites: int) -> float:
    """The excess divided by its limit; 0 when it is not significant among this many sites."""
    rejected = is_rejected(mine)
    if not len(rejected) or not 0 <= usual <= 1:
        return 0.0
    test = stats.binomtest(int(rejected.sum()), len(rejected), usual, alternative="greater")
    if test.pvalue >= SITE_REJECT_P / num_sites:
        return 0.0
    return (share - usual) / SITE_REJECT_EXCESS


def _reject_share(rows: pd.DataFrame) -> float:
    """Of the crops whose verdict is known; NaN where none is."""
    rejected = is_rejected(rows)
    return float(rejected.mean()) if len(rejected) else float("nan")
