import numpy as np
import pytest

from model.classifier import Scores
from model.decision import Policy
from tests.training.tiny import draw_digits
from training.data.corruptions import to_crop
from training.data.render import GARBAGE_LABEL
from training.evaluation import harm
from training.evaluation.harm_kinds import HELD_OUT, KINDS, NO_DIGIT


@pytest.fixture(scope="module")
def sets():
    digits = draw_digits(64, seed=3)
    return harm.draw(digits, None, digits.images, seed=1)


def test_each_kind_is_drawn_at_three_severities_with_its_labels(sets):
    assert set(sets) == {(kind, severity) for kind in KINDS for severity in (1, 2, 3)}
    for (kind, _), part in sets.items():
        assert (part.labels == GARBAGE_LABEL).all() == (kind in NO_DIGIT)
        assert part.batch.shape == (64, 1, 28, 28)


def test_at_least_fifteen_kinds_are_seen_and_five_are_held_out():
    assert len(HELD_OUT) >= 5
    assert len(set(KINDS) - set(HELD_OUT)) >= 15


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "letter"])
def test_every_kind_changes_the_crop(kind):
    rng = np.random.default_rng(2)
    crop = np.full((40, 32), 0.9)
    crop[8:32, 14:19] = crop[8:13, 8:19] = 0.1
    damaged = KINDS[kind](to_crop(crop), 3, to_crop(crop[:, ::-1]), rng)
    assert damaged.shape != crop.shape or np.abs(damaged - crop).max() > 0.05
    assert np.isfinite(damaged).all()


def always_three(batch):
    """Reads every crop as 3, with full confidence."""
    logits = np.zeros((len(batch), 10), np.float32)
    logits[:, 3] = 50
    return Scores(logits, np.full(len(batch), -5, np.float32))


def test_harm_counts_what_is_accepted_and_wrong_of_all_posted():
    part = harm.DamagedSet(
        np.zeros((4, 1, 28, 28), np.float32),
        np.array([3, 8, GARBAGE_LABEL, 8], np.uint8),
        blank=np.array([False, False, False, True]),
    )
    row = harm.judge(always_three, {("blot", 2): part}, Policy(1.0, 0.9, 0.0))[0]
    assert (row.num, row.num_accepted, row.num_wrong) == (4, 3, 2)
    assert row.harm_frac == 0.5
    assert row.seen


def test_nothing_is_harmed_where_the_garbage_head_refuses():
    part = harm.DamagedSet(
        np.zeros((2, 1, 28, 28), np.float32), np.array([1, 8], np.uint8), np.zeros(2, np.bool_)
    )
    row = harm.judge(always_three, {("moire", 1): part}, Policy(1.0, 0.9, -9.0))[0]
    assert row.num_wrong == 0
    assert not row.seen


def test_the_kinds_are_summed_over_their_severities():
    rows = [
        harm.HarmResult("blot", severity, seen=True, num=10, num_accepted=5, num_wrong=wrong)
        for severity, wrong in ((1, 0), (2, 1), (3, 2))
    ]
    assert harm.by_kind(rows, seen=True) == {"blot": pytest.approx(0.1)}
    assert harm.by_kind(rows, seen=False) == {}
