"""Changes that do not change a field's code do not change its reading: real digits, the champion.

Each test reads 12 fields of five real digits.
"""

import made_fields
import numpy as np
import pytest

from model.decision import decide, softmax
from model.errors import CropError
from model.field import NoDigits, TooManyPieces, read_at_once
from model.preprocess import preprocess

ALMOST_ALL = 11  # of 12 fields


@pytest.fixture(scope="module")
def fields(images, labels):
    return made_fields.strings(images, labels)


@pytest.fixture(scope="session")
def reading_of(artifact, classifier):
    def read(field, num_digits=(5, 5), possible=None):
        policy = artifact.policy()

        def score(images):
            scores = classifier(images)
            return softmax(scores.logits, policy.temperature), scores.garbage

        return read_at_once(
            field,
            score,
            num_digits=num_digits,
            possible=possible,
            threshold=policy.threshold,
            garbage_threshold=policy.garbage_threshold,
        )

    return read


@pytest.fixture(scope="session")
def num_right(reading_of):
    """How many changed fields are read right; none may be accepted and wrong."""

    def count(changed):
        right = 0
        for field, code in changed:
            reading = reading_of(field)
            is_right = bool(reading.candidates) and reading.candidates[0][0] == code
            assert is_right or reading.rejected_because is not None, code
            right += is_right
        return right

    return count


def changed_by(fields, change):
    return [(change(field), code) for field, code in fields]


def test_plain_fields_are_read_right_and_most_are_accepted(fields, reading_of, num_right):
    assert num_right(fields) >= ALMOST_ALL
    accepted = [reading_of(field).rejected_because is None for field, _ in fields]
    assert sum(accepted) >= 6


@pytest.mark.parametrize("margin_px", [2, 40, 500])
def test_a_white_margin_does_not_change_the_code(fields, num_right, margin_px):
    changed = changed_by(fields, lambda field: made_fields.with_margin(field, margin_px))
    assert num_right(changed) >= ALMOST_ALL


def test_the_place_in_the_field_does_not_change_the_code(fields, num_right):
    changed = changed_by(fields, lambda field: made_fields.shifted(field, 31, 77))
    assert num_right(changed) >= ALMOST_ALL


@pytest.mark.parametrize("scale", [0.4, 0.7, 2.0, 6.0])
def test_the_scale_does_not_change_the_code(fields, num_right, scale):
    changed = changed_by(fields, lambda field: made_fields.resized(field, scale))
    assert num_right(changed) >= ALMOST_ALL


def test_polarity_does_not_change_the_code(fields, num_right):
    assert num_right(changed_by(fields, lambda field: 255 - field)) >= ALMOST_ALL


@pytest.mark.parametrize("dotted", [False, True])
def test_an_underline_does_not_change_the_code(fields, num_right, dotted):
    changed = changed_by(fields, lambda field: made_fields.underlined(field, dotted=dotted))
    assert num_right(changed) >= ALMOST_ALL - 1


def test_a_frame_does_not_change_the_code(fields, num_right):
    assert num_right(changed_by(fields, made_fields.framed)) >= ALMOST_ALL


@pytest.mark.parametrize("soft_px", [1, 60, 500])
def test_a_shadow_across_the_digits_does_not_change_the_code(fields, num_right, soft_px):
    changed = changed_by(fields, lambda field: made_fields.shaded(field, soft_px=soft_px))
    assert num_right(changed) >= ALMOST_ALL


def test_the_digits_boxes_hold_the_digits_from_left_to_right(fields, reading_of):
    for field, code in fields:
        reading = reading_of(field)
        if reading.candidates[0][0] != code:
            continue
        lefts = [digit.box[0] for digit in reading.digits]
        assert lefts == sorted(lefts)
        outside = field < 128
        for x, y, width, height in (digit.box for digit in reading.digits):
            assert min(x, y) >= 0
            outside[y : y + height, x : x + width] = False
        assert outside.sum() < 0.02 * (field < 128).sum()


def test_one_digit_in_a_field_reads_as_its_crop(crops, artifact, classifier, reading_of):
    policy = artifact.policy()
    alone = decide(classifier(np.stack([preprocess(crop.pixels) for crop in crops])), policy)
    same = 0
    for crop, decision in zip(crops[::2], alone[::2], strict=True):
        try:
            reading = reading_of(crop.pixels, (1, 1))
        except CropError:
            continue
        same += reading.candidates[0][0] == str(decision.digit)
    assert same >= 0.95 * len(crops[::2])


def test_a_digit_too_few_or_too_many_is_not_accepted(images, labels, reading_of):
    accepted = 0
    for start in range(0, 160, 16):
        rows = [(start + 41 * step) % len(labels) for step in range(4)]
        accepted += reading_of(made_fields.write(images, rows)).rejected_because is None
        rows = [(start + 41 * step) % len(labels) for step in range(6)]
        accepted += reading_of(made_fields.write(images, rows)).rejected_because is None
    assert accepted <= 1  # of 20


@pytest.mark.parametrize("shape", [(150, 600), (1000, 4000), (2000, 2000), (40, 40)])
def test_noise_is_refused_or_rejected(reading_of, shape):
    rng = np.random.default_rng(3)
    for frac in (0.02, 0.3, 0.5):
        field = np.where(rng.random(shape) < frac, 0, 255).astype(np.uint8)
        try:
            reading = reading_of(field)
        except (NoDigits, TooManyPieces, CropError):
            continue
        assert reading.rejected_because is not None


def test_a_directory_mends_a_wrong_digit(images, labels, reading_of):
    """Of the codes that differ from the read one in one place, the directory has the true one."""

    def only(true):
        codes = np.array(sorted({int(true), 12345, 67890}))

        def possible(prefixes, num_left, length):
            scale = 10**num_left
            return np.searchsorted(codes, (prefixes + 1) * scale) > np.searchsorted(
                codes, prefixes * scale
            )

        return possible

    for field, code in made_fields.strings(images, labels, 8):
        reading = reading_of(field, possible=only(code))
        assert reading.candidates[0][0] == code
        other = str((int(code[0]) + 1) % 10) + code[1:]
        assert reading_of(field, possible=only(other)).rejected_because == "no_valid_code"
