"""What findings cost, and their order; a site's own past."""

from datetime import date, timedelta

import pytest

from console.drift.finding_costs import cost_findings
from console.drift.site_history import SiteDay, SiteHistory
from contract import costs
from monitoring.audits import AuditEstimate

DAY = date(2026, 11, 20)


def finding(rule="site", subject="reject share", value=0.12, limit=0.05, severity=2):
    return {
        "rule": rule, "subject": subject, "value": value, "limit": limit, "severity": severity,
        "text": f"{rule} {subject}", "site": "a",
    }  # fmt: skip


def cost(*findings, num_reads=10_000, reject_share=0.12, usual=0.02, estimate=None):
    return cost_findings(
        findings, num_reads=num_reads, reject_share=reject_share, usual_reject_share=usual,
        estimate=estimate,
    )  # fmt: skip


def test_more_rejects_cost_the_time_of_keying_them():
    (one,) = cost(finding())
    assert one.euros_a_day == pytest.approx(1_000 * costs.DEFAULT.reject_eur)


def test_without_a_past_rejects_are_compared_with_the_other_sites():
    (one,) = cost(finding(limit=0.05), usual=None)  # the others reject 3 %
    assert one.euros_a_day == pytest.approx(900 * costs.DEFAULT.reject_eur)


def test_wrong_reads_above_the_promise_cost_letters():
    estimate = AuditEstimate("a", 500, 500, 5, 0.01, 0.004, 0.02)
    (one,) = cost(estimate=estimate, reject_share=0.1)
    assert one.euros_a_day == pytest.approx(9_000 * (0.01 - 0.001) * 1.0)


def test_an_estimate_whose_interval_reaches_the_promise_is_no_finding():
    assert not cost(estimate=AuditEstimate("a", 500, 500, 1, 0.002, 0.0005, 0.01))


def test_the_costliest_comes_first_and_what_has_no_cost_last():
    estimate = AuditEstimate("a", 500, 500, 5, 0.05, 0.004, 0.1)
    found = cost(
        finding(subject="contrast", value=0.4, limit=0.35),
        finding(subject="paper_grain", value=0.9, limit=0.35),
        finding(),
        estimate=estimate,
    )
    assert [one.text.split()[-1] for one in found] == [
        "promised",
        "share",
        "paper_grain",
        "contrast",
    ]


def history(*states_and_shares):
    days = [
        SiteDay(DAY + timedelta(number), state, 1_000, share)
        for number, (state, share) in enumerate(states_and_shares)
    ]
    return SiteHistory("a", tuple(days))


def test_the_usual_share_leaves_out_bad_days_and_the_latest():
    past = history(("calm", 0.02), ("act", 0.5), ("calm", 0.03), ("calm", 0.04), ("act", 0.4))
    assert past.usual_reject_share == pytest.approx(0.03)


def test_a_site_without_a_past_has_no_usual_share():
    assert history(("act", 0.5)).usual_reject_share is None


def test_a_problem_began_on_the_first_bad_day_in_a_row():
    past = history(
        ("act", 0.1), ("calm", 0.1), ("watch", 0.1), ("insufficient", None), ("act", 0.2)
    )
    assert past.named_since == DAY + timedelta(2)


def test_a_calm_site_has_no_beginning_of_a_problem():
    assert history(("act", 0.1), ("calm", 0.1)).named_since is None
