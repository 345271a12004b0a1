"""The real steps on a tiny data set with a tiny network: fixtures, floors and the command line."""

import shutil
import sqlite3
from contextlib import closing
from dataclasses import replace

import numpy as np
import pytest
from PIL import ImageFont
from tiny import TinyNetwork, draw_digits, write_tiny_source

from training import __main__ as command_line
from training import (
    champion_folder,
    fitting,
    gate_rules,
    harm_rules,
    network,
    option_values,
    quantization,
)
from training.data import fonts, render, semeion
from training.data.datasets import load_mnist
from training.evaluation import harm, judge, suites, thresholds
from training.steps import evaluate, promote


@pytest.fixture(scope="module")
def tiny_steps(tmp_path_factory):
    """The real steps on 120 drawn digits, with a tiny network and few of everything."""
    folder = tmp_path_factory.mktemp("tiny")
    source, face = write_tiny_source(folder / "source"), folder / "aileron.ttf"
    face.write_bytes(ImageFont.load_default(22).font_bytes)  # Pillow's own
    fit_configs = option_values.fit_configs

    def fit_configs_in_one_process(options):  # a pool of two spends seconds on importing torch
        config, rendering = fit_configs(options)
        return config, replace(rendering, num_processes=1)

    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("DIGITS_CAPTURE_STORE", raising=False)
        patch.setenv("DIGITS_DATA_FOLDER", str(source.folder))
        patch.setitem(load_mnist.__kwdefaults__, "checksums", source.checksums)
        patch.setattr(option_values, "fit_configs", fit_configs_in_one_process)
        patch.setattr(network, "build", lambda name: TinyNetwork())
        patch.setitem(fitting.fit.__kwdefaults__, "build", lambda name: TinyNetwork())
        patch.setattr(fonts, "find_fonts", lambda: fonts.Fonts((face,), (face,)))
        patch.setattr(render, "CHUNK", 50)
        patch.setattr(evaluate, "load_uci_digits", lambda: draw_digits(10, seed=4))
        patch.setattr(semeion, "load_semeion", lambda cache, file: None)
        patch.setattr(quantization, "TIMING_S", 0.0)
        for name in ("NUM_ORDINARY", "NUM_OTHER", "NUM_GARBAGE"):
            patch.setattr(suites, name, 5)
        patch.setattr(harm, "NUM_WRITTEN", 3)
        patch.setattr(harm, "NUM_PRINTED", 1)
        patch.setattr(thresholds, "DEFAULT_ERROR_TARGET", 0.98)
        patch.setattr(thresholds, "FIRST_ACCEPTED_FRAC", 0.02)
        patch.setattr(judge, "CLEAN_REFUSED_FRAC", 0.0)  # a tiny network's head refuses most crops
        patch.setattr(thresholds, "ERROR_TARGETS", (0.98, 0.99))
        patch.setattr(champion_folder, "DEFAULT_ERROR_TARGET", 0.98)
        patch.setattr(gate_rules, "Floors", lambda: EASY_FLOORS)
        patch.setattr(promote, "GOLDEN_MIN_CONFIDENCE", 0.0)
        yield


@pytest.fixture(scope="module")
def empty_database(tiny_steps, tmp_path_factory):
    """MLflow needs seconds to make its tables, so they are made once."""
    from training import tracking

    folder = tmp_path_factory.mktemp("database")
    with pytest.MonkeyPatch.context() as patch:
        enter(folder, patch)
        tracking.connect()
    return folder


def enter(folder, patch):
    """Work in a folder with a database of its own; MLflow leaves the last one's in the variable."""
    from mlflow.tracking._tracking_service import utils

    patch.chdir(folder)
    patch.delenv("MLFLOW_TRACKING_URI", raising=False)
    utils._artifact_repos_cache.clear()  # by run, and a copied folder has the same runs


def copy_database(source, target):
    """Copy MLflow's database, which names the folder of its files by the whole path."""
    with closing(sqlite3.connect(source / "mlflow.db")) as database:
        script = "\n".join(database.iterdump()).replace(str(source), str(target))
    with closing(sqlite3.connect(target / "mlflow.db")) as database:
        database.executescript(script)


@pytest.fixture
def tiny_world(tiny_steps, tmp_path, monkeypatch, empty_database):
    """An empty working folder for the tiny steps."""
    enter(tmp_path, monkeypatch)
    copy_database(empty_database, tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def whole_run(tiny_steps, tmp_path_factory, empty_database):
    """A working folder after `run`, from data to the first champion, with one set of our own."""
    folder = tmp_path_factory.mktemp("run")
    images = np.zeros((10, 16, 16), np.uint8)
    images[:, 4:12, 7:9] = 255
    with pytest.MonkeyPatch.context() as patch:
        enter(folder, patch)
        copy_database(empty_database, folder)
        np.savez("own.npz", images=images, labels=np.ones(10))
        assert (
            run(
                "run",
                *fit_arguments("--until", "promote", "--why", "first light"),
                *("--extra", "own=own.npz"),
            )
            == 0
        )
    return folder


@pytest.fixture
def promoted(whole_run, tmp_path, monkeypatch):
    """A copy of that folder."""
    folder = tmp_path / "copy"
    shutil.copytree(whole_run, folder, ignore=shutil.ignore_patterns("mlflow.db"))
    copy_database(whole_run, folder)
    enter(folder, monkeypatch)
    monkeypatch.setattr(evaluate, "_draw_pictures", lambda *_: None)  # two seconds each


NO_FLOOR = gate_rules.SetFloor(accuracy=0.0, class_accuracy=0.0, ece=1.0)
EASY_FLOORS = gate_rules.Floors(
    sets={"mnist": NO_FLOOR, "rendered": NO_FLOOR, "held_out_fonts": NO_FLOOR},
    harm=harm_rules.HarmLimits(
        seen_kind=1.0, kinds={}, unseen_mean=1.0, unseen_kind=1.0, least_kinds=0
    ),
    error_target=1.0,
    mean_corruption_accuracy=0.0,
    corruption_accuracy=0.0,
    garbage_auroc=0.0,
    garbage_fpr_at_95_tpr=1.0,
    quantisation_drop=1.0,
    quantisation_flips_frac=1.0,
    latency_ratio=100.0,
)


def run(*arguments):
    return command_line.main([*arguments, "--work", "work", "--champion", "champion"])


def fit_arguments(*more):
    return ("--epochs", "2", "--num-crops", "100", "--seed", "1", *more)


HARD_FLOORS = replace(EASY_FLOORS, quantisation_drop=-2.0)
