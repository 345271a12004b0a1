import numpy as np
import pytest

from training.data import damage, damage_operations
from training.data.corruptions import to_crop


@pytest.fixture
def crop():
    """A dark 7 on light paper."""
    paper = np.full((40, 30), 230, np.uint8)
    paper[6:11, 6:24] = 20
    for row in range(11, 34):
        column = 22 - (row - 11) // 2
        paper[row, column - 3 : column + 2] = 20
    return paper


@pytest.mark.parametrize("name", damage_operations.OPERATIONS)
def test_each_operation_changes_the_crop_and_leaves_one_that_can_be_sent(crop, name):
    changed = 0
    for seed in range(20):
        sheet = damage_operations.Sheet.of(to_crop(crop / 255))
        after = damage_operations.OPERATIONS[name](sheet, np.random.default_rng(seed))
        assert after.ndim == 2
        assert min(after.shape) >= 1
        assert np.isfinite(after).all()
        changed += after.shape != crop.shape or not np.allclose(after, crop / 255, atol=0.02)
    assert changed >= 15


def test_the_same_seed_damages_in_the_same_way(crop):
    first, second = (damage.damage(crop, 7, [crop], np.random.default_rng(5)) for _ in range(2))
    np.testing.assert_array_equal(first[0], second[0])


def test_a_six_is_never_turned_into_a_nine(crop, monkeypatch):
    monkeypatch.setattr(
        damage, "SHARES", np.array([name == "turn" for name in damage.NAMES], float)
    )
    monkeypatch.setattr(damage, "NUM_OPERATIONS", (1.0,))
    turned = []
    monkeypatch.setitem(
        damage_operations.OPERATIONS, "turn", lambda sheet, _: turned.append(1) or sheet.crop
    )
    for label in range(10):
        damage.damage(crop, label, [crop], np.random.default_rng(label))
    assert len(turned) == 8


def test_two_digits_in_one_crop_are_no_digit(crop, monkeypatch):
    monkeypatch.setattr(
        damage, "SHARES", np.array([name == "beside" for name in damage.NAMES], float)
    )
    monkeypatch.setattr(damage, "NUM_OPERATIONS", (1.0,))
    both, has_one_digit = damage.damage(crop, 7, [crop], np.random.default_rng(1))
    assert not has_one_digit
    assert max(both.shape) > 1.2 * max(crop.shape)
