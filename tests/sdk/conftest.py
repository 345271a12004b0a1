"""The packed model, as a wheel has it."""

import sys
from pathlib import Path

import pytest
import stamina

import digitline
from digitline import local_reader

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "sdk"))

from hatch_build import pack  # noqa: E402 - found by the line before


@pytest.fixture(scope="session")
def packed(tmp_path_factory):
    """The folder `digitline/_model` that the build hook makes; `digitline` finds it."""
    outside = tmp_path_factory.mktemp("wheel") / "digitline"
    folder = outside / "_model"
    folder.mkdir(parents=True)
    pack(ROOT / "model", folder)
    digitline.__path__.append(str(outside))
    yield folder
    digitline.__path__.remove(str(outside))


@pytest.fixture(scope="session")
def reader(packed):
    return local_reader.LocalReader()


@pytest.fixture(autouse=True)
def no_retry_log():
    """Tests make hundreds of retries."""
    stamina.instrumentation.set_on_retry_hooks([])
    yield
    stamina.instrumentation.set_on_retry_hooks(None)
