"""The shipped champion, as a function from crops to decisions."""

import numpy as np
import pytest

from model.artifact import load
from model.classifier import Classifier
from model.decision import decide
from model.preprocess import preprocess


@pytest.fixture(scope="session")
def artifact():
    return load()


@pytest.fixture(scope="session")
def classifier(artifact):
    return Classifier(artifact.onnx_bytes)


@pytest.fixture(scope="session")
def read(artifact, classifier):
    """Crops of any size -> decisions, all in one batch."""

    def read_crops(pixels):
        batch = np.stack([preprocess(crop) for crop in pixels])
        return decide(classifier(batch), artifact.policy())

    return read_crops


@pytest.fixture(scope="session")
def labels(crops):
    return np.array([crop.label for crop in crops])


@pytest.fixture(scope="session")
def share_right(read, labels):
    """Share of 200 changed crops that are read correctly."""

    def measure(pixels):
        digits = np.array([decision.digit for decision in read(pixels)])
        return float((digits == labels).mean())

    return measure
