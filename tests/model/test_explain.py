import numpy as np
import pytest
from champions import Crop
from PIL import Image

from model import __main__ as command_line
from model.classifier import Classifier
from model.decision import Policy
from model.errors import BlankCrop
from model.explain import draw, explain

POLICY = Policy(temperature=1.0, threshold=0.5, garbage_threshold=1e9)


@pytest.fixture(scope="module")
def classifier(tiny_model):
    return Classifier(tiny_model.SerializeToString())


def test_the_answer_explained_is_the_answer_given(crops: list[Crop], classifier):
    crop = crops[5]
    made = explain(crop.pixels, classifier, POLICY)
    assert made.decision.digit == crop.label
    np.testing.assert_array_equal(made.crop, crop.pixels)


def test_only_ink_counts_in_the_occlusion_map(crops: list[Crop], classifier):
    made = explain(crops[5].pixels, classifier, POLICY)
    assert made.occlusion.shape == (28, 28)
    assert made.occlusion.max() > 0
    corner = made.framed.image[0, :5, :5]
    assert not corner.any()
    assert not made.occlusion[:3, :3].any()


def test_a_blank_crop_has_nothing_to_explain(classifier):
    with pytest.raises(BlankCrop):
        explain(np.full((40, 40), 230, np.uint8), classifier, POLICY)


def test_the_picture_has_four_panels(crops: list[Crop], classifier):
    picture = draw(explain(crops[0].pixels, classifier, POLICY))
    assert picture.mode == "RGB"
    assert picture.width > 4 * 224
    assert np.unique(np.asarray(picture.convert("L"))).size > 20


def test_the_command_writes_the_picture(tiny_champion, crops: list[Crop], tmp_path, capsys):
    source, out = tmp_path / "crop.png", tmp_path / "why.png"
    source.write_bytes(crops[0].png)
    done = command_line.main(
        ["explain", str(source), "--out", str(out), "--champion", str(tiny_champion)]
    )
    assert done == 0
    assert str(crops[0].label) in capsys.readouterr().out
    with Image.open(out) as picture:
        assert picture.format == "PNG"


def test_the_command_reports_a_bad_file(tiny_champion, tmp_path, capsys):
    source = tmp_path / "crop.png"
    source.write_bytes(b"not a picture")
    done = command_line.main(["explain", str(source), "--champion", str(tiny_champion)])
    assert done == 2
    assert "error: " in capsys.readouterr().err
