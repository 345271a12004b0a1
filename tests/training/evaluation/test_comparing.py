import io

import numpy as np
import pytest
from PIL import Image
from scipy.stats import binom
from statsmodels.stats.proportion import proportion_confint

from training.evaluation import comparing
from training.evaluation.answers import SetAnswers, load_answers, save_answers


def answers(right, *, accepted=None, crops="the crops", seed=0):
    right = np.array(right, bool)
    labels = np.random.default_rng(7).integers(10, size=len(right)).astype(np.uint8)
    rng = np.random.default_rng(seed)
    return SetAnswers(
        labels=labels,
        digits=np.where(right, labels, (labels + 1) % 10).astype(np.uint8),
        confidence=rng.random(len(right)).astype(np.float32),
        garbage=np.zeros(len(right), np.float32),
        accepted=np.ones(len(right), bool) if accepted is None else np.array(accepted),
        wrong_images=np.flatnonzero(~right).astype(np.uint8)[:, None, None]
        * np.ones((28, 28), np.uint8),
        crops=np.array(crops),
    )


FIRST = answers([1] * 90 + [0] * 10)
OTHER = answers([0] * 2 + [1] * 88 + [1] * 9 + [0])


def test_crops_that_changed_sides_are_counted():
    row = comparing.compare(FIRST, OTHER)
    assert (row.num, row.gained, row.lost) == (100, 9, 2)
    assert row.accuracy == 0.97


def test_the_interval_is_wilsons_as_another_library_computes_it():
    row = comparing.compare(FIRST, OTHER)
    assert (row.low, row.high) == pytest.approx(proportion_confint(97, 100, method="wilson"))


def test_mcnemar_is_the_exact_binomial_tail_on_both_sides():
    row = comparing.compare(FIRST, OTHER)
    assert row.mcnemar_p == pytest.approx(2 * binom.cdf(2, 11, 0.5))


def test_a_run_against_itself_changes_nothing():
    row = comparing.compare(FIRST, FIRST)
    assert (row.gained, row.lost, row.mcnemar_p) == (0, 0, 1.0)


def test_harm_is_accepted_and_wrong_of_all():
    part = answers([1, 1, 0, 0], accepted=[True, False, True, False])
    row = comparing.compare(part, part)
    assert (row.accepted_frac, row.wrong_frac) == (0.5, 0.25)


def test_runs_on_other_crops_are_refused():
    with pytest.raises(ValueError, match="other crops"):
        comparing.compare(FIRST, answers([1] * 100, crops="others"))


def test_the_spread_of_seeds_is_mean_deviation_and_range():
    found = comparing.spread([0.98, 0.99, 0.97])
    assert found == comparing.Spread(pytest.approx(0.98), pytest.approx(0.01), 0.97, 0.99)


def test_the_spread_of_one_seed_is_nothing():
    assert comparing.spread([0.98]).deviation == 0


def test_the_picture_has_two_rows_for_a_set_with_gains_and_losses():
    png = comparing.draw_changed({"mnist": FIRST}, {"mnist": OTHER})
    only_lost = comparing.draw_changed(
        {"mnist": FIRST}, {"mnist": answers([0] * 2 + [1] * 88 + [0] * 10)}
    )
    assert png is not None
    assert only_lost is not None
    heights = [Image.open(io.BytesIO(picture)).height for picture in (png, only_lost)]
    assert heights[0] == pytest.approx(2 * heights[1], abs=2)


def test_nothing_is_drawn_where_no_crop_changed_sides():
    assert comparing.draw_changed({"mnist": FIRST}, {"mnist": FIRST}) is None


def test_the_image_of_a_wrong_read_is_found_by_its_row():
    rows = np.array([95, 92])
    images = comparing._wrong_images(FIRST, rows)
    assert images[:, 0, 0].tolist() == [95, 92]


def test_answers_are_read_as_they_were_saved(tmp_path):
    save_answers(tmp_path / "answers.npz", {"a/b": FIRST, "mnist": OTHER})
    found = load_answers(tmp_path / "answers.npz")
    assert list(found) == ["a/b", "mnist"]
    np.testing.assert_array_equal(found["a/b"].digits, FIRST.digits)
    np.testing.assert_array_equal(found["mnist"].wrong_images, OTHER.wrong_images)
    assert comparing.compare(found["a/b"], FIRST).mcnemar_p == 1


def test_damaged_answers_are_refused_with_what_to_do(tmp_path):
    (tmp_path / "answers.npz").write_bytes(b"PK")
    with pytest.raises(ValueError, match="run `evaluate` again"):
        load_answers(tmp_path / "answers.npz")
