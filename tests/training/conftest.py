"""A tiny data set of drawn digits, and a tiny network: no download, seconds to fit."""

import os
from pathlib import Path

import pytest
import torch
from tiny import TinyNetwork, TinySource, draw_digits, write_tiny_source
from tiny_run import empty_database, promoted, tiny_steps, tiny_world, whole_run

from training.data.datasets import LabelledImages

__all__ = ["empty_database", "promoted", "tiny_steps", "tiny_world", "whole_run"]

os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
os.environ["DO_NOT_TRACK"] = "true"


@pytest.fixture
def tiny_source(tmp_path: Path) -> TinySource:
    return write_tiny_source(tmp_path / "source")


@pytest.fixture
def digits() -> LabelledImages:
    return draw_digits(64, seed=3)


@pytest.fixture
def tiny_network() -> TinyNetwork:
    torch.manual_seed(0)
    return TinyNetwork().eval()
