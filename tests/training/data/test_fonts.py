import logging

import numpy as np
import pytest

from training.data import fonts


def test_without_fonts_the_message_has_the_line_that_installs_them(tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        assert fonts.find_fonts([tmp_path]) is None
    assert "apt-get install" in caplog.text
    assert "printed digits and letters are left out" in caplog.text


@pytest.fixture(scope="module")
def found():
    found = fonts.find_fonts()
    if found is None:
        pytest.skip(f"fewer than {fonts.MIN_FAMILIES} font families here; {fonts.APT_LINE}")
    return found


def test_no_family_is_both_trained_on_and_held_out(found):
    families = [{fonts.family(path) for path in part} for part in (found.train, found.held_out)]
    assert all(families)
    assert not families[0] & families[1]


def test_glyphs_are_in_mnists_frame_at_twice_the_size(found):
    digits = fonts.draw_digits(found.held_out[:2])
    assert digits.images.shape == (20, 56, 56)
    assert digits.labels.tolist() == [*range(10)] * 2
    for image in digits.images:
        rows, columns = np.flatnonzero(image.any(1)), np.flatnonzero(image.any(0))
        assert 36 <= max(np.ptp(rows), np.ptp(columns)) + 1 <= 40
