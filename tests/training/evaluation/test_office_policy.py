"""The thresholds of an office."""

import numpy as np

from model.decision import Policy
from training.evaluation import office_policy
from training.evaluation.office_policy import Scored

STANDARD = Policy(temperature=1.0, threshold=0.995, garbage_threshold=-3.0)
TARGET = 0.001


def scored(confidence, garbage, *, wrong=(), weights=None):
    """Crops that are read as 1 with a confidence; those in `wrong` are a 7."""
    confidence = np.asarray(confidence, float)
    logits = np.zeros((len(confidence), 10), np.float32)
    logits[:, 1] = np.log(9 * confidence / (1 - confidence))
    labels = np.ones(len(confidence), int)
    labels[list(wrong)] = 7
    weights = np.ones(len(confidence)) if weights is None else np.asarray(weights, float)
    return Scored(logits, np.asarray(garbage, np.float32), labels, weights)


def office(num_audits=1000, *, wrong=()):
    """50 rejects that the garbage head refuses, and audits that stand for five reads each."""
    garbage = [-2.9] * 50 + [-6.0] * num_audits
    confidence = [0.999] * (50 + num_audits)
    weights = [1.0] * 50 + [5.0] * num_audits
    return scored(confidence, garbage, wrong=wrong, weights=weights)


NOTHING_DAMAGED = scored([], [])


def choose(mail, damaged=NOTHING_DAMAGED, champion_harm=0.01):
    return office_policy.choose(
        STANDARD, mail, damaged, champion_harm=champion_harm, error_target=TARGET
    )


def test_an_office_whose_rejects_are_right_gets_looser_thresholds():
    mail = office()
    assert mail.accepted(STANDARD).sum() == 1000
    assert mail.accepted(choose(mail)).all()


def test_few_labels_change_nothing():
    assert choose(office(num_audits=200)) == STANDARD


def test_wrong_rejects_keep_them_rejected():
    mail = office(wrong=(0, 1, 2))
    assert mail.accepted(choose(mail)).sum() == 1000


def test_wrong_reads_that_were_accepted_before_do_not_forbid_more():
    mail = office(wrong=(60,))
    assert mail.accepted(choose(mail)).all()


def test_damaged_crops_that_would_be_accepted_stop_it():
    damaged = scored([0.999] * 100, [-2.9] * 100, wrong=range(100))
    assert choose(office(), damaged).garbage_threshold == STANDARD.garbage_threshold


def test_a_threshold_that_is_loose_already_is_not_made_stricter():
    loose = Policy(temperature=1.0, threshold=0.9, garbage_threshold=-3.0)
    chosen = office_policy.choose(
        loose, office(), NOTHING_DAMAGED, champion_harm=0.01, error_target=TARGET
    )
    assert chosen.threshold == 0.9
