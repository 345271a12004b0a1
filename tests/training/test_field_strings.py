import numpy as np
import pytest
from scipy import ndimage

from model import artifact
from model.classifier import Classifier
from training.data.datasets import LabelledImages
from training.studies.field_fit import CUT_COLUMNS, _Listed, _loss, first_weights, fit
from training.studies.field_strings import Writing, draw_field

PLAIN = Writing(
    height_px=60, slope=0.0, slant=0.0, pen=0.0, spacing=0.2, form="none", paper=240, ink=20,
    noise=0.0, num_specks=0, is_plain=True,
)  # fmt: skip


@pytest.fixture(scope="module")
def digits(images, labels_of):
    return LabelledImages((images[:, 0] * 255).astype(np.uint8), labels_of)


@pytest.fixture(scope="module")
def labels_of(crops):
    return np.array([crop.label for crop in crops], dtype=np.uint8)


def draw(digits, num_touching, seed=1):
    rows = np.array([3, 45, 88, 130, 171])
    rng = np.random.default_rng(seed)
    return draw_field(digits, rows, rng, writing=PLAIN, num_touching=num_touching)


def test_the_same_seed_draws_the_same_field(digits):
    assert np.array_equal(draw(digits, 1).field, draw(digits, 1).field)
    assert not np.array_equal(draw(digits, 1).field, draw(digits, 1, seed=2).field)


@pytest.mark.parametrize("num_touching", [0, 1, 4])
def test_as_many_pairs_touch_as_asked(digits, num_touching):
    drawn = draw(digits, num_touching)
    parts = ndimage.label(drawn.field < 128, np.ones((3, 3)))[0]
    boxes = [parts[y : y + h, x : x + w] for x, y, w, h in drawn.boxes]
    main = [int(np.bincount(box[box > 0]).argmax()) for box in boxes]
    assert len(set(main)) == 5 - num_touching
    assert drawn.num_touching == num_touching
    assert drawn.code == "".join(str(digits.labels[row]) for row in (3, 45, 88, 130, 171))


def test_the_fits_gradient_is_that_of_its_loss():
    rng = np.random.default_rng(0)
    listed = [_Listed(rng.normal(size=(7, 4)), -rng.random(7)) for _ in range(3)]
    weights = rng.normal(size=4)
    _, gradient = _loss(weights, listed)
    for number in range(4):
        step = np.eye(4)[number] * 1e-6
        slope = (_loss(weights + step, listed)[0] - _loss(weights - step, listed)[0]) / 2e-6
        assert gradient[number] == pytest.approx(slope, abs=1e-5)


def test_a_fit_of_cuts_holds_all_other_weights(digits):
    served = artifact.load()
    weights, mean = fit(
        Classifier(served.onnx_bytes), served.policy(), [digits], 8, 1, only_cuts=True
    )
    is_other = np.ones(len(weights), np.bool_)
    is_other[CUT_COLUMNS] = False
    assert (weights == first_weights())[is_other].all()
    assert (weights != 0.0)[CUT_COLUMNS].all()
    assert mean < 0.0
