import numpy as np
from tiny import draw_digits

from training.data.styles import STYLES
from training.evaluation import style_sets


def test_each_style_is_a_set_of_its_own_label():
    sets = style_sets.build_style_sets(draw_digits(60, seed=9))
    assert list(sets) == list(STYLES)
    for name, part in sets.items():
        assert len(part)
        assert set(part.labels) == {STYLES[name].label}


def test_the_sets_are_the_same_each_time():
    digits = draw_digits(60, seed=9)
    first, second = (style_sets.join(style_sets.build_style_sets(digits)) for _ in range(2))
    np.testing.assert_array_equal(first.batch, second.batch)


def test_a_label_without_digits_is_an_empty_set():
    digits = draw_digits(60, seed=9)
    sets = style_sets.build_style_sets(digits.take(np.flatnonzero(digits.labels != 0)))
    assert len(sets["thick zero"]) == 0
    assert len(style_sets.join(sets)) > 0
