"""`--warm-start WEIGHTS`: a fit goes on from earlier weights, at a lower learning rate."""

import argparse
from pathlib import Path

import pytest
import torch
from tiny import TinyNetwork

from training import fitting, network, option_values
from training.steps.files import StepError
from training.steps.fit import _builder

OPTIONS = argparse.Namespace(
    network="default", seed=7, epochs=None, num_crops=None, warm_start=Path("weights.pt")
)


def test_the_network_starts_from_the_weights(tmp_path):
    earlier = network.build("default")
    torch.save(earlier.state_dict(), tmp_path / "weights.pt")
    build = _builder(fitting.FitConfig(warm_start=tmp_path / "weights.pt"))
    started = build("default").state_dict()
    assert all(torch.equal(value, started[name]) for name, value in earlier.state_dict().items())


def test_weights_of_another_network_are_refused_with_the_file(tmp_path):
    torch.save(TinyNetwork().state_dict(), tmp_path / "weights.pt")
    with pytest.raises(StepError, match=r"weights\.pt does not start network 'default'"):
        _builder(fitting.FitConfig(warm_start=tmp_path / "weights.pt"))


@pytest.mark.parametrize("content", [None, b"", b"no weights"])
def test_a_file_that_holds_no_weights_is_refused(tmp_path, content):
    if content is not None:
        (tmp_path / "weights.pt").write_bytes(content)
    with pytest.raises(StepError, match="name the weights"):
        _builder(fitting.FitConfig(warm_start=tmp_path / "weights.pt"))


def test_a_warm_start_learns_more_slowly():
    config, _ = option_values.fit_configs(OPTIONS)
    assert config.augmented is not None
    assert config.augmented.peak_lr < fitting.Augmented().peak_lr
