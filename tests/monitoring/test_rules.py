from __future__ import annotations

import numpy as np
import pytest

from capture.reference import NUMERIC
from contract import slo
from monitoring import rules
from monitoring.distances import LEAST_SPREAD
from monitoring.findings import Severity
from monitoring.rules import assess


def fired(assessment) -> set[str]:
    return {finding.rule for finding in assessment.findings}


@pytest.mark.parametrize("seed", [3, 4, 5, 6, 7])
def test_mail_like_the_reference_is_calm(rows_of, reference, seed):
    assessment = assess(rows_of(2_000, seed, sites=5), reference)
    assert assessment.enough
    assert assessment.severity == Severity.CALM, assessment.findings


@pytest.mark.parametrize("num", [0, 1, 499])
def test_too_few_records_give_no_verdict_and_no_exception(rows_of, reference, num):
    assessment = assess(rows_of(num), reference)
    assert not assessment.enough
    assert assessment.findings == ()


def test_drift_of_a_feature_is_a_finding_that_does_not_page(rows_of, reference):
    rows = rows_of(2_000)
    rows["sharpness"] -= 0.5
    assessment = assess(rows, reference)
    (finding,) = assessment.findings
    assert (finding.rule, finding.subject) == ("distance", "sharpness")
    assert finding.value == pytest.approx(0.5, abs=0.07)
    assert assessment.severity == Severity.WATCH


def test_drift_of_every_feature_pages_nobody(rows_of, reference):
    rows = rows_of(2_000)
    rows[list(NUMERIC)] += 5
    assert assess(rows, reference).severity == Severity.WATCH


def test_a_doubled_class_is_a_finding(rows_of, reference):
    rows = rows_of(2_000)
    rows.loc[rows.index[:250], "digit"] = "7"
    (finding,) = assess(rows, reference).findings
    assert finding.rule == "class_mix"
    assert "most of all 7" in finding.text


def test_inverted_crops_are_a_finding(rows_of, reference):
    rows = rows_of(2_000)
    rows.loc[rows.index[:600], "polarity"] = "light ink"
    assert "polarity" in fired(assess(rows, reference))


@pytest.mark.parametrize(
    ("share", "severity"),
    [(0.08, Severity.CALM), (0.095, Severity.WATCH), (0.12, Severity.ACT)],
)
def test_severity_comes_from_the_reject_share(rows_of, reference, share, severity):
    rows = rows_of(4_000, rejected=0)
    rows.loc[rows.index[: int(share * 4_000)], "accepted"] = False
    assert assess(rows, reference).severity == severity


def test_fewer_rejects_are_no_finding(rows_of, reference):
    assert assess(rows_of(2_000, rejected=0.0), reference).severity == Severity.CALM


def test_the_expected_share_follows_the_deployment_s_threshold(rows_of, reference):
    rows = rows_of(2_000, rejected=0)
    rows["threshold"] = np.float32(0.995)  # this deployment rejects everything
    rows["accepted"] = False
    assessment = assess(rows, reference)
    assert assessment.expected_reject_share == 1.0
    assert assessment.severity == Severity.CALM


def test_wrong_labelled_reads_page(rows_of, reference):
    rows = rows_of(2_000, rejected=0)
    rows.loc[rows.index[:400], "label"] = rows["digit"][:400]
    assert assess(rows, reference).severity == Severity.CALM
    rows.loc[rows.index[:6], "label"] = "x"
    assessment = assess(rows, reference)
    assert assessment.severity == Severity.ACT
    assert "labels" in fired(assessment)
    assert assessment.accuracy == pytest.approx(394 / 400)


def test_wrong_rejected_reads_do_not_page(rows_of, reference):
    rows = rows_of(4_000)
    rows["label"] = rows["digit"]
    rows.loc[~rows["accepted"], "label"] = "x"
    assert assess(rows, reference).severity == Severity.CALM


def test_overconfidence_on_labelled_reads_pages(rows_of, reference):
    rows = rows_of(2_000, rejected=0)
    rows["label"] = rows["digit"]
    rows.loc[rows.index[:200], "label"] = "x"
    assert "confidence" in fired(assess(rows, reference))


def test_a_feature_missing_in_some_rows_is_a_finding_and_in_all_rows_is_not(rows_of, reference):
    rows = rows_of(2_000)
    rows.loc[rows.index[:100], "contrast"] = np.nan
    assert fired(assess(rows, reference)) == {"missing"}
    rows["contrast"] = np.nan
    assert fired(assess(rows, reference)) == set()


def test_the_latency_limit_is_the_service_level_objective():
    assert slo.load().p99_ms == rules.P99_LIMIT_MS


def test_slow_answers_are_a_finding(rows_of, reference):
    rows = rows_of(2_000)
    rows["total_ms"] += np.float32(100)
    assert fired(assess(rows, reference)) == {"latency"}


def dirty(rows, site: str):
    rows.loc[rows["site"] == site, "sharpness"] -= np.float32(1.5)
    return rows


def named(assessment) -> set[str]:
    return {one.site for one in assessment.sites if one.named}


@pytest.mark.parametrize("num_sites", [3, 10, 50])
def test_one_dirty_lens_is_found_and_named_alone(rows_of, reference, num_sites):
    rows = dirty(rows_of(400 * num_sites, sites=num_sites), "site 02")
    assert named(assess(rows, reference)) == {"site 02"}


def test_of_two_sites_the_dirty_one_is_named(rows_of, reference):
    assert named(assess(dirty(rows_of(2_000, sites=2), "site 01"), reference)) == {"site 01"}


@pytest.mark.parametrize(("num_sites", "num_dirty"), [(4, 2), (10, 4), (10, 6)])
def test_where_many_sites_changed_no_clean_one_is_named(rows_of, reference, num_sites, num_dirty):
    rows = rows_of(400 * num_sites, sites=num_sites)
    sites = {f"site {number:02d}" for number in range(num_dirty)}
    rows.loc[rows["site"].isin(sites), "sharpness"] -= np.float32(1.5)
    rows["stroke_width_px"] += 3  # everywhere, which tells nothing of a site
    assert named(assess(rows, reference)) == sites


@pytest.mark.parametrize("seed", range(3))
def test_fifty_clean_sites_are_not_named(rows_of, reference, seed):
    assert named(assess(rows_of(50 * 250, seed, sites=50), reference)) == set()


def test_a_site_that_rejects_more_than_the_others_pages(rows_of, reference):
    rows = rows_of(10_000, sites=20)
    mine = rows.index[rows["site"] == "site 07"]
    rows.loc[mine[:100], "accepted"] = False
    assessment = assess(rows, reference)
    assert named(assessment) == {"site 07"}
    assert assessment.severity == Severity.ACT


def test_a_new_pen_at_every_site_names_no_site(rows_of, reference):
    rows = rows_of(5_000, sites=10)
    rows["stroke_width_px"] += 3
    assert named(assess(rows, reference)) == set()


def test_sites_with_little_mail_are_not_judged(rows_of, reference):
    rows = dirty(rows_of(1_000, sites=10), "site 02")
    assert assess(rows, reference).sites == ()


def test_every_distance_has_a_least_spread():
    assert set(LEAST_SPREAD) == set(NUMERIC)


@pytest.mark.parametrize(("height_px", "is_named"), [(41, False), (56, True)])
def test_beside_scanners_of_one_fixed_height_a_site_is_judged_in_sane_units(
    rows_of, reference, height_px, is_named
):
    rows = rows_of(2_000, sites=4)
    rows["height_px"] = np.float32(40)
    rows.loc[rows["site"] == "site 02", "height_px"] = np.float32(height_px)
    (site,) = (one for one in assess(rows, reference).sites if one.site == "site 02")
    assert site.named == is_named
    assert site.distance < 10


def test_the_headline_is_the_dirty_site_where_it_explains_the_rest(rows_of, reference):
    rows = dirty(rows_of(4_000, sites=4, rejected=0), "site 02")
    rows.loc[rows["site"] == "site 02", "accepted"] = False
    assessment = assess(rows, reference)
    assert assessment.findings[0].text.startswith("site site 02 looks dirty: it rejects 100.0%")
    (of_mail,) = (one for one in assessment.findings if one.rule == "rejects")
    assert of_mail.text.endswith("; not without site 02")


def test_rejects_come_before_a_site_that_does_not_explain_them(rows_of, reference):
    rows = dirty(rows_of(4_000, sites=4, rejected=0.3), "site 02")
    of_all, of_site, explained = assess(rows, reference).findings
    assert (of_all.rule, of_site.site) == ("rejects", "site 02")
    assert explained.text.endswith("; not without site 02")
