"""A month's labels into a candidate: told, resumable, idempotent."""

import json
import os
import signal
from pathlib import Path

import pytest
import torch
from made_snapshots import rows_of, write_snapshot
from tiny import draw_digits
from tiny_run import HARD_FLOORS, run

from capture.store import open_store
from model import artifact
from training import __main__ as command_line
from training import adapting, anchor, gate_rules, retrain_state
from training.snapshots import building
from training.steps import promote, retrain
from training.steps.files import sha256

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
MONTH = "2026-11"
STEPS = ("adapt", "export", "quantize", "evaluate", "gate")


@pytest.fixture
def month(promoted, monkeypatch):
    """A month with 60 labelled crops, and the events that people were sent."""
    box = {"digits": draw_digits(60, seed=5), "events": Path("events.jsonl")}

    def build(archive, data, as_of, *, git_commit):
        digits = box["digits"]
        half = len(digits) * 4 // 5
        train = rows_of(digits.images[:half], digits.labels[:half], prefix="train")
        test = rows_of(digits.images[half:], digits.labels[half:], prefix="test")
        return write_snapshot(data, as_of, train, test)

    def keep(event):
        with box["events"].open("a") as file:
            file.write(json.dumps(json.loads(event.read_text())) + "\n")

    config = adapting.AdaptConfig
    small = {"num_steps": 3, "num_mail": 8, "num_raw": 4, "num_rendered": 4, "num_threads": 1}
    monkeypatch.setattr(adapting, "AdaptConfig", lambda **given: config(**small | given))
    monkeypatch.setattr(building, "build", build)
    monkeypatch.setattr(anchor, "load", lambda _: None)  # tiny candidates differ by points
    monkeypatch.setattr(retrain, "_start_notification", keep)
    return box


def retrain_month(*more):
    return run("retrain", "--as-of", MONTH, "--num-crops", "100", "--seed", "1", *more)


def events(month):
    lines = month["events"].read_text().splitlines() if month["events"].exists() else []
    return [json.loads(line) for line in lines]


def test_a_months_labels_make_a_candidate_and_people_are_told(month, capsys):
    assert retrain_month() == 0
    (event,) = events(month)
    assert event["title"] == "Retraining: the candidate passed the gate"
    assert "crops of 2 sites, 12 in the test share" in event["details"][0]
    assert artifact.load(Path("champion")).version == "1", "only promote changes what is served"
    assert Path("work/validation.html").exists()


def test_what_it_saw_is_in_manifest_and_card(month):
    assert retrain_month("--until", "promote") == 0
    manifest = artifact.load(Path("champion")).manifest
    mail = manifest["mail"]
    assert set(mail["sites"]) == {"bonn-1", "koeln-1"}
    assert sum(mail["sites"].values()) == mail["sources"]["captures"] == mail["num_train"] > 30
    assert manifest["mail"]["data_version"].startswith(MONTH)
    assert manifest["data"]["mail"] == manifest["mail"]["data_version"]
    assert manifest["weights_sha256"] == sha256(Path("champion/weights.pt").read_bytes())
    card = Path("champion/MODEL_CARD.md").read_text()
    assert f"{mail['num_train']} crops to train on (sites: bonn-1 {mail['sites']['bonn-1']}" in card


def test_a_month_is_retrained_once_unless_forced(month, capsys):
    retrain_month()
    capsys.readouterr()
    assert retrain_month() == 0
    assert f"{MONTH} was retrained at" in capsys.readouterr().out
    assert len(events(month)) == 1, "the verdict was told; nothing happened since"
    assert retrain_month("--force") == 0
    assert "== evaluate\n" in capsys.readouterr().out


def test_another_machine_does_not_train_again_without_a_new_label(month, capsys):
    retrain_month()
    (Path("work") / retrain_state.NAME).unlink()
    capsys.readouterr()
    assert retrain_month() == 0
    assert "no new label since run" in capsys.readouterr().out
    assert events(month)[-1]["title"] == "Retraining: nothing new"


def test_a_month_whose_candidate_is_served_is_done(month, capsys):
    retrain_month("--until", "promote")
    capsys.readouterr()
    assert retrain_month("--until", "promote") == 0
    assert "its candidate is the champion" in capsys.readouterr().out
    assert artifact.load(Path("champion")).version == "2"


def test_labels_that_came_late_do_not_stop_a_run_that_goes_on(month, capsys):
    assert retrain_month("--until", "export") == 0
    month["digits"] = draw_digits(80, seed=6)  # the archive would now give another snapshot
    assert retrain_month() == 0
    assert "== export: done at" in capsys.readouterr().out


def test_a_step_is_done_again_where_another_command_wrote_its_files(month, capsys):
    retrain_month("--until", "quantize")
    Path("work/fp32.onnx").write_bytes(b"of another fit")
    capsys.readouterr()
    retrain_month("--until", "quantize")
    said = capsys.readouterr().out
    assert "== adapt: done at" in said
    assert "== export\n" in said
    assert "== quantize\n" in said


def test_a_refused_candidate_is_told_and_the_champion_stays(month, monkeypatch):
    monkeypatch.setattr(gate_rules, "Floors", lambda: HARD_FLOORS)
    assert retrain_month("--until", "promote") == 0
    (event,) = events(month)
    assert event["title"].startswith("Retraining: the gate refused")
    assert any("int8 accuracy drop" in detail for detail in event["details"])
    assert artifact.load(Path("champion")).version == "1"
    assert retrain_month("--until", "promote") == 0, "a second run is no error"
    assert len(events(month)) == 1


def test_weights_of_another_fit_are_not_promoted(month, capsys):
    assert retrain_month() == 0
    torch.save({}, "work/weights.pt")
    assert run("promote", "--why", "x") == command_line.EXIT_ERROR
    assert "not what the candidate was made of" in capsys.readouterr().err


def test_a_month_without_labels_says_so(month, capsys):
    month["digits"] = month["digits"].take(slice(0, 0))
    assert retrain_month() == 0
    assert "has no crop to train on" in capsys.readouterr().out


def test_labels_that_validation_refuses_train_nothing(month, capsys):
    month["digits"].labels[0] = 12
    assert retrain_month() == command_line.EXIT_ERROR
    assert "is not trained on" in capsys.readouterr().err
    assert not events(month)


def test_a_store_that_fails_is_an_error(month, monkeypatch):
    from training.data.mnist_files import DataError

    def fail(*_, **__):
        raise DataError("S3")

    monkeypatch.setattr(building, "build", fail)
    assert retrain_month() == command_line.EXIT_ERROR


def test_weights_of_another_model_are_not_gone_on_from(month, capsys):
    torch.save({}, "champion/weights.pt")
    assert retrain_month() == command_line.EXIT_ERROR
    assert "restore the champion folder or roll back" in capsys.readouterr().err


def test_a_month_that_is_none_is_an_error(month, capsys):
    with pytest.raises(SystemExit):
        run("retrain", "--as-of", "2026-13")
    assert "'2026-13' is no month, such as 2026-11" in capsys.readouterr().err


SLOW, NIGHTLY = pytest.mark.slow, pytest.mark.nightly


@pytest.mark.parametrize(
    "file",
    [
        pytest.param("fit.json", marks=SLOW),
        *(
            pytest.param(one, marks=NIGHTLY)
            for one in ("mail.npz", "evaluation.json", "verdict.json")
        ),
    ],
)
def test_a_run_that_is_killed_while_it_writes_ends_as_if_it_was_not(month, file):
    killed = retrain_and_die(lambda path: path.endswith(file))
    assert killed == signal.SIGKILL
    check_that_it_goes_on(month)


@pytest.mark.parametrize(
    "number",
    [
        pytest.param(3, marks=SLOW),
        *(pytest.param(one, marks=NIGHTLY) for one in (1, 2, 4, 5)),
    ],
)
def test_a_run_that_is_killed_between_two_steps_goes_on_after_the_last_one(month, number):
    seen = []

    def is_state(path):
        seen.extend([path] if path.endswith(f".{retrain_state.NAME}.staged") else [])
        return len(seen) == number

    assert retrain_and_die(is_state) == signal.SIGKILL
    done = json.loads(Path("work", retrain_state.NAME).read_text())["done"] if number > 1 else {}
    assert tuple(done) == STEPS[: number - 1]
    check_that_it_goes_on(month)


def retrain_and_die(is_deadly):
    """Retrain in a child that is killed when it opens a file; returns the signal."""
    child = os.fork()
    if child:
        return os.waitpid(child, 0)[1] & 0x7F
    try:
        import sys

        torch.set_num_threads(1)  # threads do not survive a fork

        def watch(event, details):
            if event == "open" and isinstance(details[0], str) and is_deadly(details[0]):
                os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(watch)
        retrain_month()
    finally:
        os._exit(0)


def check_that_it_goes_on(month):
    assert retrain_month("--until", "promote") == 0
    assert events(month)[-1]["title"] == "Retraining: the candidate passed the gate"
    assert artifact.load(Path("champion")).version == "2"
    promote.settle(Path("champion"))
    assert open_store(".work/data").find("snapshots/")
