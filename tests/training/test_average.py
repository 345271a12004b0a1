import json
from dataclasses import asdict

import pytest
import torch

from training import network as networks
from training import tracking
from training.config import Workspace
from training.fitting import Epoch
from training.network import build
from training.steps import average
from training.steps.files import FitRecord, StepError, load_fit


@pytest.fixture(autouse=True)
def quiet_tracking(monkeypatch):
    from contextlib import nullcontext

    monkeypatch.setattr(tracking, "connect", lambda: "")
    monkeypatch.setattr(tracking, "run", lambda **_: nullcontext("mean"))
    monkeypatch.setattr(tracking, "log_tags", lambda _: None)
    monkeypatch.setattr(tracking, "log_file", lambda _: None)


def a_fit(folder, seed, network="default"):
    torch.manual_seed(seed)
    folder.mkdir()
    work = Workspace(folder)
    torch.save(build(network).state_dict(), work.weights)
    history = (Epoch(0, 0.1, 0.9, 0.9, 1.0, 0.9),)
    record = FitRecord(network, f"run-{seed}", "0" * 40, "now", 0, history, num_crops=seed)
    work.fit.write_text(json.dumps(asdict(record)))
    return folder


def test_the_mean_lies_between_the_fits_and_names_their_runs(tmp_path):
    fits = [a_fit(tmp_path / "a", 1), a_fit(tmp_path / "b", 2)]
    work = Workspace(tmp_path / "mean")
    average.run(fits, work)
    first, second, mean = (
        torch.load(Workspace(folder).weights, weights_only=True)
        for folder in (*fits, tmp_path / "mean")
    )
    name = "digit_head.weight"
    assert torch.allclose(mean[name], (first[name] + second[name]) / 2)
    networks.build("default").load_state_dict(mean)
    assert (work.pictures / "learning_curves.png").exists()  # the card shows it
    record = load_fit(work)
    assert (record.run_id, record.averaged) == ("mean", ("run-1", "run-2"))


def test_one_fit_has_no_mean(tmp_path):
    with pytest.raises(StepError, match="two fits or more"):
        average.run([a_fit(tmp_path / "a", 1)], Workspace(tmp_path / "mean"))


def test_fits_of_two_networks_have_no_mean(tmp_path):
    fits = [a_fit(tmp_path / "a", 1), a_fit(tmp_path / "b", 2, "prototype")]
    with pytest.raises(StepError, match="different networks: default, prototype"):
        average.run(fits, Workspace(tmp_path / "mean"))
