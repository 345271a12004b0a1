import numpy as np
import pytest
from scipy.stats import binomtest

from training.evaluation.sequential import ALPHA, Standing


def test_equal_readers_are_seldom_told_apart_however_often_one_looks():
    rng = np.random.default_rng(1)
    num_decided = 0
    for _ in range(2000):
        candidate = np.cumsum(rng.random(300) < 0.5)
        num_decided += any(
            Standing(int(key - won), int(won)).better for key, won in enumerate(candidate, start=1)
        )
    # 2,000 trials: more than 0.06 would show that the chance is above 0.05
    assert num_decided / 2000 <= ALPHA + 0.01


def test_looking_at_an_ordinary_mcnemar_test_after_each_key_would_tell_equal_readers_apart():
    rng = np.random.default_rng(1)
    num_decided = 0
    for _ in range(200):
        candidate = np.cumsum(rng.random(200) < 0.5)
        num_decided += any(
            binomtest(int(won), key).pvalue < ALPHA for key, won in enumerate(candidate, start=1)
        )
    assert num_decided / 200 > 0.15


@pytest.mark.parametrize(("share", "most"), [(0.9, 25), (0.75, 90)])
def test_a_better_reader_is_found_within_a_few_keys(share, most):
    rng = np.random.default_rng(2)
    needed = []
    for _ in range(300):
        standing = Standing(0, 0)
        while standing.better is None:
            won = rng.random() < share
            standing = Standing(standing.num_champion + (not won), standing.num_candidate + won)
        assert standing.better == "candidate" or share < 0.9
        needed.append(standing.num_champion + standing.num_candidate)
    assert np.median(needed) <= most


def test_the_keys_to_go_are_about_what_it_takes():
    standing = Standing(3, 9)
    left = standing.keys_to_go
    more = Standing(3 + round(left * 4 / 14), 9 + round(left * 10 / 14))
    assert more.better == "candidate"
    assert str(standing) == (
        f"open: about {left} keys to go (9 keyed crops for the candidate, 3 for the champion)"
    )


def test_equal_readers_have_no_end_in_sight():
    assert Standing(50, 50).keys_to_go is None
    assert str(Standing(50, 50)).startswith("open: the two are as good as equal")


def test_without_a_key_nothing_is_said_of_either():
    assert str(Standing(0, 0)) == "open: no keyed crop tells them apart yet"


def test_what_is_decided_says_for_whom():
    assert str(Standing(0, 12)).startswith("decided: the candidate reads better")
    assert str(Standing(12, 0)).startswith("decided: the champion reads better")
