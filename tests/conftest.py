"""The 200 real crops, and a tiny champion that reads them, for every test."""

import csv
import io
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from champions import Crop, make_model, write_champion
from numpy.typing import NDArray
from own_server import free_port, wait_until_ready
from PIL import Image

from model.preprocess import preprocess

pytest_plugins = ["stores", "own_postgres"]
ROOT = Path(__file__).parents[1]
CROPS = ROOT / "tests" / "data" / "crops"


@pytest.fixture(scope="session")
def crops() -> list[Crop]:
    """The 200 real MNIST test digits of tests/data/crops."""
    with (CROPS / "labels.csv").open() as lines:
        rows = list(csv.DictReader(lines))
    found = []
    for row in rows:
        png = (CROPS / row["file"]).read_bytes()
        pixels = np.asarray(Image.open(io.BytesIO(png)))
        found.append(Crop(row["file"], int(row["label"]), png, pixels))
    assert len(found) == 200
    return found


@pytest.fixture(scope="session")
def images(crops: list[Crop]) -> NDArray[np.float32]:
    """The same, framed: (200, 1, 28, 28)."""
    return np.stack([preprocess(crop.pixels) for crop in crops])


@pytest.fixture(scope="session")
def tiny_model(crops: list[Crop], images: NDArray[np.float32]) -> onnx.ModelProto:
    """One dense layer that has learned the 200 crops by heart; garbage is the mean ink.

    It reads them right without any training, so HTTP tests can tell a right answer from a wrong.
    """
    flat = images.reshape(len(images), -1).astype(np.float64)
    targets = np.eye(10)[[crop.label for crop in crops]] * 24 - 12
    gram = flat @ flat.T + np.eye(len(flat))
    weights = flat.T @ np.linalg.solve(gram, targets)
    return make_model(weights.astype(np.float32))


@pytest.fixture(scope="session")
def tiny_champion(
    tmp_path_factory: pytest.TempPathFactory, tiny_model: onnx.ModelProto, crops: list[Crop]
) -> Path:
    """A champion folder that needs no training run. Do not write to it: it is shared."""
    return write_champion(tmp_path_factory.mktemp("champion"), tiny_model, crops[0])


@pytest.fixture
def own_champion(tmp_path: Path, tiny_model: onnx.ModelProto, crops: list[Crop]) -> Path:
    """The same, for a test that tampers with it."""
    return write_champion(tmp_path / "champion", tiny_model, crops[0])


@pytest.fixture(scope="session")
def port(tmp_path_factory):
    """The port of a real server that has become ready."""
    number = free_port()
    environment = {name: value for name, value in os.environ.items() if "DIGITS_" not in name}
    environment.pop("PROMETHEUS_MULTIPROC_DIR", None)
    environment |= {"DIGITS_PORT": str(number), "DIGITS_DRAIN_S": "0"}
    log = tmp_path_factory.mktemp("server") / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "serving"], cwd=ROOT, env=environment, stdout=output,
            stderr=output,
        )  # fmt: skip
    try:
        wait_until_ready(number, process, log)
        yield number
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(30)
        finally:
            process.kill()
            process.wait()
