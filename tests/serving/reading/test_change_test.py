"""The sequential test: Page's sums against a loop and published run lengths; what trips it."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from serving.reading import site_signals as signal
from serving.reading.change_test import ChangeTest, cusum
from serving.reading.fault_reason import reason_of

USUAL = np.full(signal.NUM_SIGNALS, np.nan)
USUAL[signal.REJECTED] = 0.1
USUAL[signal.NO_DIGIT] = 0.01
USUAL[signal.EDGES_TOUCHED] = 0.7
USUAL[signal.INVERTED] = 0.2
USUAL[signal.LOG_ASPECT] = -0.3
USUAL[signal.NUM_DROPPED] = 0.2
USUAL[signal.FULL_LINE], USUAL[signal.SHARPNESS], USUAL[signal.CONTRAST] = 0.6, 0.6, 0.7
USUAL[signal.FIRST_DIGIT : signal.FIRST_DIGIT + 10] = 0.1


def reads(num, rng, **shares):
    """Reads as usual, but for the shares or values named."""
    made = np.tile(USUAL, (num, 1))
    made[:, signal.BLANK] = 0
    rejected = rng.random(num) < shares.pop("rejected", 0.1)
    no_digit = rejected & (rng.random(num) < shares.pop("no_digit", 0.1))
    made[:, signal.REJECTED], made[:, signal.NO_DIGIT] = rejected, no_digit
    mix = np.eye(10)[rng.choice(shares.pop("digits", range(10)), num)]
    mix[rejected] = np.nan
    made[:, signal.FIRST_DIGIT : signal.FIRST_DIGIT + 10] = mix
    for name, value in shares.items():
        made[:, getattr(signal, name)] = value
    return made


def test_the_sums_are_those_of_a_loop():
    steps = np.random.default_rng(1).normal(-0.1, 1, (500, 3))
    level, expected = np.array([2.0, 0.0, 5.0]), []
    for step in steps:
        level = np.maximum(0, level + step)
        expected.append(level)
    assert_allclose(cusum(np.array([2.0, 0.0, 5.0]), steps), expected, atol=1e-12)


def test_the_sums_do_not_depend_on_how_reads_are_grouped():
    signals = reads(400, np.random.default_rng(2), rejected=0.3)
    whole, parts = ChangeTest(), ChangeTest()
    whole.add(signals, USUAL)
    for start in range(0, 400, 16):
        parts.add(signals[start : start + 16], USUAL)
    assert_allclose(whole.sums, parts.sums, atol=1e-9)


# Montgomery, "Introduction to Statistical Quality Control", table 9.3: CUSUM of normal values with
# k = 1/2. His run lengths in control are of two sides, so one side takes twice as long.
@pytest.mark.parametrize(
    ("limit", "shift", "published"), [(4, 0, 2 * 168), (5, 1, 10.4), (4, 1, 8.38), (4, 2, 3.34)]
)
def test_run_lengths_are_the_published_ones(limit, shift, published):
    rng = np.random.default_rng(3)
    steps = rng.normal(shift - 0.5, 1, (12 * int(published) + 50, 3_000))
    paths = cusum(np.zeros(3_000), steps)
    crossed = paths >= limit
    assert crossed.any(axis=0).mean() > 0.99
    assert crossed.argmax(axis=0).mean() + 1 == pytest.approx(published, rel=0.05)


def test_usual_mail_does_not_trip():
    test, rng = ChangeTest(), np.random.default_rng(4)
    assert [test.add(reads(50, rng), USUAL) for _ in range(1_000)] == [None] * 1_000


def test_a_hard_senders_mailing_does_not_trip():
    signals = reads(2_000, np.random.default_rng(5), rejected=0.3, no_digit=0.1)
    assert ChangeTest().add(signals, USUAL) is None


@pytest.mark.parametrize(
    ("statistic", "changes"),
    [
        ("no_digit", {"rejected": 0.5, "no_digit": 0.4}),
        ("rejects", {"rejected": 0.9, "no_digit": 0.0}),
        ("framing", {"rejected": 0.35, "no_digit": 0.0, "EDGES_TOUCHED": 2.0}),
    ],
)
def test_each_statistic_sees_its_change_within_300_reads(statistic, changes):
    signals = reads(300, np.random.default_rng(6), **changes)
    assert ChangeTest().add(signals, USUAL) == statistic


@pytest.mark.parametrize(
    ("reason", "changes"),
    [
        ("dark", {"BLANK": 1.0}),
        ("inverted", {"INVERTED": 0.8}),
        ("striped", {"FULL_LINE": 1.0}),
        ("blurred", {"SHARPNESS": 0.2}),
        ("turned", {"digits": [0, 1, 2, 5, 6, 8, 9]}),
        ("turned", {"LOG_ASPECT": 0.3}),
        ("unknown", {"EDGES_TOUCHED": 2.0}),
        ("unknown", {}),
    ],
)
def test_the_reason_names_what_changed(reason, changes):
    signals = reads(100, np.random.default_rng(7), rejected=0.5, **changes)
    assert reason_of(signals, USUAL) == reason
