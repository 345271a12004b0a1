"""Tags of a photo: what is refused, what the network sees, and the 20 photos through HTTP."""

import io
import json
import os
import re
import subprocess

import numpy as np
import pytest
from PIL import Image
from running_example import ROOT, RunningExample, made_champion, python_of

from examples.photo_tags.photo_input import Scaling, open_photo, preprocess, read_photo
from examples.photo_tags.tag_model import TagModel
from model.errors import CropSizeError, UnreadableCrop, UnsupportedFormat

PLAIN = Scaling(256, 127.0, 128.0)
TURNED = 6  # EXIF: to be turned by 90 degrees


def as_file(pixels, kind="PNG", **options):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind, **options)
    return file.getvalue()


@pytest.fixture
def pixels():
    return np.random.default_rng(0).integers(0, 255, (300, 400, 3), np.uint8)


def test_bytes_that_are_no_photo_are_refused():
    with pytest.raises(UnsupportedFormat):
        open_photo(b"GIF89a" + b"\0" * 50)


@pytest.mark.parametrize("shape", [(8, 300, 3), (9_000, 20, 3)])
def test_a_photo_of_an_impossible_size_is_refused_before_it_is_decoded(shape):
    with pytest.raises(CropSizeError):
        open_photo(as_file(np.zeros(shape, np.uint8)))


def test_a_photo_that_is_cut_short_is_refused(pixels):
    with pytest.raises(UnreadableCrop):
        read_photo(as_file(pixels)[:-5_000], PLAIN)


def test_the_middle_of_a_photo_is_seen_at_its_scale(pixels):
    pixels[:, :100], pixels[:, 300:] = 0, 255  # cut off
    pixels[:, 100:300] = 127
    image = read_photo(as_file(pixels), Scaling(300, 127.0, 128.0))
    assert image.shape == (3, 224, 224)
    assert np.abs(image[:, :, 20:-20]).max() < 0.01


def test_a_photo_that_is_stored_turned_is_seen_upright(pixels):
    exif = Image.Exif()
    exif[0x0112] = TURNED
    turned = np.ascontiguousarray(np.rot90(pixels))
    stored = as_file(turned, exif=exif)
    assert np.allclose(read_photo(stored, PLAIN), read_photo(as_file(pixels), PLAIN), atol=0.02)


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "LA", "CMYK"])
def test_every_kind_of_pixels_becomes_three_channels(pixels, mode):
    kind = "JPEG" if mode == "CMYK" else "PNG"
    file = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(file, kind)
    assert preprocess(open_photo(file.getvalue()), PLAIN).shape == (3, 224, 224)


class Session:
    """Answers with given logits."""

    def __init__(self, logits):
        self.logits = np.array([logits], np.float32)

    def run(self, names, inputs):
        return [self.logits]


def tags_of(logits):
    classes = {"classes": [f"class {place}" for place in range(len(logits))]}
    model = TagModel("1", "", classes, PLAIN, b"", Session(logits))
    return model.tag([np.zeros((3, 224, 224), np.float32)])[0]


def test_at_most_five_tags_come_in_descending_confidence():
    tags = tags_of([1.0, 3.0, 2.0, 3.5, 2.5, 0.5, 2.2])
    assert [one.tag for one in tags] == ["class 3", "class 1", "class 4", "class 6", "class 2"]
    assert [one.confidence for one in tags] == sorted(
        (one.confidence for one in tags), reverse=True
    )


def test_an_improbable_tag_is_left_out_but_there_is_always_one():
    assert [one.tag for one in tags_of([10.0, 0.0, 0.0, 0.0])] == ["class 0"]
    assert len(tags_of([0.0] * 1000)) == 1


def photos_of_foolbox():
    packages = ROOT / ".work" / "examples" / "photo_tags" / "venv" / "lib"
    return sorted(packages.glob("python*/site-packages/foolbox/data/imagenet_*.jpg"))


def class_of(photo):
    return int(re.findall(r"_(\d+)$", photo.stem)[0])


@pytest.mark.nightly
def test_the_20_photos_show_their_class_among_five_tags(tmp_path):
    manifest = json.loads((made_champion("photo_tags") / "manifest.json").read_text())
    photos = photos_of_foolbox()
    assert len(photos) == 20
    server = RunningExample("photo_tags", tmp_path / "running")
    num_right = 0
    try:
        server.wait()
        for path in photos:
            body = path.read_bytes()
            status, answer, _ = server.ask("POST", "/v1/tags", body, content_type="image/jpeg")
            assert status == 200
            tags = json.loads(answer)["tags"]
            assert 1 <= len(tags) <= 5
            num_right += manifest["classes"][class_of(path)] in [one["tag"] for one in tags]
        bad = server.ask("POST", "/v1/tags", b"no photo", content_type="image/jpeg")
        assert bad[0] == 415
    finally:
        server.kill()
    assert num_right >= 19


def run_in_example(*command, **environment):
    return subprocess.run(
        [python_of("photo_tags"), *command],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True, text=True, timeout=900, check=False,
    )  # fmt: skip


@pytest.mark.nightly
def test_weights_of_a_folder_are_served_instead_and_bad_ones_are_refused(tmp_path):
    registry = {"MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path}/mlflow.db"}
    weights, champion = tmp_path / "weights", tmp_path / "champion"
    made = run_in_example("tests/examples/fitted_resnet18.py", str(weights))
    assert made.returncode == 0, made.stderr
    prepare = ["-m", "examples.photo_tags.prepare", "--why", "test", "--resnet18"]
    places = ["--champion", str(champion), "--store", str(tmp_path / "models")]
    empty = run_in_example(*prepare, str(tmp_path), *places, **registry)
    assert (empty.returncode, "put one there" in empty.stderr) == (2, True)
    (tmp_path / "broken.pth").write_bytes(b"none")
    broken = run_in_example(*prepare, str(tmp_path), *places, **registry)
    assert (broken.returncode, "has no weights of ResNet18" in broken.stderr) == (2, True)
    assert not champion.exists()
    done = run_in_example(*prepare, str(weights), *places, **registry)
    assert done.returncode == 0, done.stderr
    manifest = json.loads((champion / "manifest.json").read_text())
    assert manifest["network"] == "resnet18"
    server = RunningExample("photo_tags", tmp_path / "running", champion=champion)
    photo = photos_of_foolbox()[0]
    try:
        body = photo.read_bytes()
        answer = server.wait().ask("POST", "/v1/tags", body, content_type="image/jpeg")[1]
        served = json.loads(server.ask("GET", "/v1/model")[1])
    finally:
        server.kill()
    assert served["network"] == "resnet18"
    assert manifest["classes"][class_of(photo)] in [
        one["tag"] for one in json.loads(answer)["tags"]
    ]
