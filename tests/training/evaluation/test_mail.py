"""Candidate and champion on an office's test share."""

import numpy as np
import pytest
from scipy.stats import binomtest

from model.decision import Policy
from training import mail_rules
from training.evaluation.mail import ALL_SITES, Judged, judge_mail, sign_flip_p
from training.evaluation.office_policy import Scored

POLICY = Policy(temperature=1.0, threshold=0.9, garbage_threshold=0.0)


def read_as(digits, labels, weights=None, confidence=0.99):
    """A model that reads these digits, all with one confidence."""
    logits = np.zeros((len(digits), 10), np.float32)
    logits[np.arange(len(digits)), digits] = np.log(9 * confidence / (1 - confidence))
    weights = np.ones(len(digits)) if weights is None else np.asarray(weights, float)
    garbage = np.full(len(digits), -1.0, np.float32)
    return Judged(Scored(logits, garbage, np.asarray(labels), weights), POLICY)


@pytest.mark.parametrize(("lost", "won"), [(9, 1), (5, 5), (12, 4), (0, 3)])
def test_with_equal_weights_the_chance_is_mcnemars(lost, won):
    first = np.array([True] * lost + [False] * won)
    exact = binomtest(lost, lost + won, alternative="greater").pvalue
    found = sign_flip_p(first, ~first, np.ones(lost + won))
    assert found == pytest.approx(exact, abs=0.02)


def test_without_differences_two_models_are_equally_good():
    same = np.array([True, False])
    assert sign_flip_p(same, same, np.ones(2)) == 1


def test_an_audited_read_counts_as_the_reads_that_it_stands_for():
    labels = np.array([1, 1, 1])
    champion = read_as([1, 1, 1], labels, weights=[1, 1, 8])
    candidate = read_as([1, 1, 7], labels, weights=[1, 1, 8])
    (result, _) = judge_mail(candidate, champion, np.array(["bonn"] * 3))
    assert result.accuracy == pytest.approx(0.2)
    assert result.wrong_frac == pytest.approx(0.8)
    assert result.champion_accuracy == 1


def test_each_site_is_judged_by_itself():
    labels = np.ones(4, int)
    champion, candidate = read_as([1, 1, 1, 1], labels), read_as([1, 1, 7, 7], labels)
    results = judge_mail(candidate, champion, np.array(["bonn", "bonn", "essen", "essen"]))
    assert [(one.site, one.accuracy) for one in results] == [
        (ALL_SITES, 0.5), ("bonn", 1.0), ("essen", 0.0),
    ]  # fmt: skip


def office(num, num_lost):
    """A candidate that loses some crops of essen, which the champion reads right."""
    labels = np.ones(num, int)
    digits = np.where(np.arange(num) < num_lost, 7, 1)
    sites = np.array(["essen"] * (num // 2) + ["bonn"] * (num - num // 2))
    return judge_mail(read_as(digits, labels), read_as(labels, labels), sites)


def test_a_site_that_is_read_worse_refuses_the_candidate():
    failed = [reason.name for reason in mail_rules.judge(office(800, 12)) if not reason.passed]
    assert any("essen" in name for name in failed)
    assert not any("bonn" in name for name in failed)


def test_an_equal_candidate_passes():
    assert all(reason.passed for reason in mail_rules.judge(office(800, 0)))


def test_few_labels_are_not_judged_and_the_verdict_says_so():
    results = office(100, 40)
    assert not list(mail_rules.judge(results))
    assert "mail of all: 100 labels, too few to judge (200 needed)" in list(
        mail_rules.notes(results)
    )


def test_no_mail_gives_no_results():
    nothing = read_as([], [])
    assert judge_mail(nothing, nothing, np.zeros(0, np.str_)) == ()
