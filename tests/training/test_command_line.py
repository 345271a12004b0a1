"""The steps as commands, from the tiny data set to a promoted champion."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_run import HARD_FLOORS, fit_arguments, run

from capture import reference
from model import artifact
from training import __main__ as command_line
from training import anchor, fitting, gate_rules
from training.command_options import build_parser
from training.config import Workspace
from training.data import fonts, render
from training.evaluation.harm_kinds import KINDS
from training.steps import fit, workspace_lock
from training.steps.files import load_fit

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


def test_run_goes_from_data_to_a_champion_and_a_second_run_replaces_it(
    promoted, monkeypatch, capsys
):
    assert artifact.load(Path("champion")).version == "1"
    card = Path("champion/MODEL_CARD.md").read_text()
    for picture in Path("champion/card").iterdir():
        assert picture.read_bytes().startswith(b"\x89PNG")
    for line in card.splitlines():
        if line.startswith("!["):
            name = line.split("](")[1].rstrip(")")
            assert (Path("champion") / name).exists() or name == "card/garbage_roc.png"
    assert b"<h2>Sets</h2>" in Path("champion/report.html").read_bytes()
    assert reference.load("champion/reference.parquet").model_version == "1"
    log = json.loads(Path("promotions.jsonl").read_text())
    assert (log["from_version"], log["to_version"], log["why"]) == (None, "1", "first light")
    check_registry(version="1")

    # The verdict compared with no champion, and now there is one.
    assert run("promote") == command_line.EXIT_ERROR
    assert "about another champion" in capsys.readouterr().err
    assert run("gate") == command_line.EXIT_GATE
    assert run("evaluate") == 0
    assert run("gate") == 0
    assert run("promote") == 0
    assert artifact.load(Path("champion")).version == "2"

    # With floors that it misses, the same candidate is refused.
    assert run("evaluate") == 0
    monkeypatch.setattr(gate_rules, "Floors", lambda: HARD_FLOORS)
    assert run("gate") == command_line.EXIT_GATE
    assert run("promote") == command_line.EXIT_ERROR
    assert "the gate has not passed" in capsys.readouterr().err
    assert artifact.load(Path("champion")).version == "2"


def test_a_worse_model_does_not_get_in_by_a_comparison_with_nothing(promoted, capsys):
    assert command_line.main(["evaluate", "--work", "work", "--champion", "none/champion"]) == 0
    assert command_line.main(["gate", "--work", "work", "--champion", "none/champion"]) == 0
    assert run("promote") == command_line.EXIT_ERROR
    assert "about another champion" in capsys.readouterr().err
    assert artifact.load(Path("champion")).version == "1"


@pytest.mark.parametrize("name", ["int8.onnx", "evaluation.json"])
def test_a_verdict_holds_for_the_files_that_were_judged_and_no_others(promoted, capsys, name):
    shutil.rmtree("champion")
    path = Path("work") / name
    path.write_bytes(path.read_bytes() + b"\n")
    assert run("promote") == command_line.EXIT_ERROR
    assert f"about another {'candidate' if 'onnx' in name else 'evaluation'}" in (
        capsys.readouterr().err
    )
    assert not Path("champion").exists()


def test_the_anchor_moves_only_when_somebody_says_why(promoted):
    first = anchor.load(Path("champion"))
    assert (first.version, first.why) == ("1", "the first champion of this folder")
    assert run("evaluate") == run("gate") == run("promote") == 0
    assert anchor.load(Path("champion")) == first
    assert run("evaluate") == run("gate") == run("promote", "--move-anchor", "a new set") == 0
    moved = anchor.load(Path("champion"))
    assert (moved.version, moved.why) == ("3", "a new set")


def test_the_fonts_that_were_used_are_in_record_and_manifest(promoted):
    assert json.loads(Path("work/fit.json").read_text())["fonts"] == ["aileron"]
    assert artifact.load(Path("champion")).manifest["fonts"] == ["aileron"]


def test_missing_fonts_are_an_error_with_the_line_that_installs_them(
    tiny_world, monkeypatch, capsys
):
    monkeypatch.setattr(fonts, "find_fonts", lambda: None)
    assert run("fit", *fit_arguments()) == command_line.EXIT_ERROR
    assert fonts.APT_LINE in capsys.readouterr().err
    assert [path.name for path in Path("work").iterdir()] == ["lock"]


def test_an_experiment_without_fonts_goes_on_and_is_refused_by_the_gate(promoted, monkeypatch):
    monkeypatch.setattr(fonts, "find_fonts", lambda: None)
    assert run("evaluate") == command_line.EXIT_ERROR
    assert run("evaluate", "--without-fonts") == 0
    assert run("gate") == command_line.EXIT_GATE
    verdict = json.loads(Path("work/verdict.json").read_text())
    failed = [reason for reason in verdict["reasons"] if not reason["passed"]]
    assert any(fonts.APT_LINE in reason["remedy"] for reason in failed)


def test_only_a_candidate_that_passed_the_gate_is_named_so(promoted, monkeypatch):
    from training import tracking

    tracking.connect()
    before = tracking.find_alias(tracking.CANDIDATE)
    monkeypatch.setattr(gate_rules, "Floors", lambda: HARD_FLOORS)
    assert run("evaluate") == 0
    assert run("gate") == command_line.EXIT_GATE
    assert tracking.find_alias(tracking.CANDIDATE) == before


def test_own_crops_are_an_evaluation_set_of_their_own(promoted):
    result = json.loads(Path("work/evaluation.json").read_text())
    assert result["sets"]["own"]["num"] == 10


def test_a_candidate_that_passed_elsewhere_is_fetched_and_promoted(promoted, capsys):
    shutil.rmtree("champion")
    run_id = json.loads(Path("work/fit.json").read_text())["run_id"]
    Path("work").rename("elsewhere")
    assert run("fetch", run_id) == 0
    fetched = {path.relative_to("work") for path in Path("work").rglob("*") if path.is_file()}
    assert Path("report.html") in fetched
    for name in fetched:
        assert (Path("work") / name).read_bytes() == (Path("elsewhere") / name).read_bytes()
    assert run("promote") == 0
    assert artifact.load(Path("champion")).version == "2"  # the log has version 1 already
    check_registry(version="1")  # MLflow counts for itself


def test_a_candidate_that_the_gate_refused_cannot_be_fetched(promoted, monkeypatch, capsys):
    (kept,) = Path("mlartifacts").rglob("promotable")
    shutil.rmtree(kept)  # what the gate kept when it passed this candidate
    monkeypatch.setattr(gate_rules, "Floors", lambda: HARD_FLOORS)
    assert run("gate") == command_line.EXIT_GATE
    run_id = json.loads(Path("work/fit.json").read_text())["run_id"]
    for unknown in (run_id, "0" * 32):
        assert run("fetch", unknown) == command_line.EXIT_ERROR
        assert "kept no candidate" in capsys.readouterr().err


def check_registry(version):
    from training import tracking

    tracking.connect()
    found = tracking.find_alias(tracking.CHAMPION)
    assert found is not None
    assert found.version == version
    record = json.loads(Path("work/fit.json").read_text())
    assert found.run_id == record["run_id"]
    assert tracking.fetch_onnx(version, Path("fetched")) == Path("work/int8.onnx").read_bytes()


@pytest.mark.parametrize(
    ("step", "message"),
    [
        ("export", "run `fit` first"),
        ("quantize", "run `export` first"),
        ("evaluate", "run `fit` first"),
        ("gate", "run `evaluate` first"),
        ("promote", "run `gate`"),
    ],
)
def test_a_step_says_which_step_must_come_before(tiny_world, capsys, step, message):
    assert run(step) == command_line.EXIT_ERROR
    assert message in capsys.readouterr().err


def test_ctrl_c_saves_the_best_weights_so_far(tiny_world, monkeypatch, capsys):
    report = fit.report_epoch

    def stop(epoch):
        report(epoch)
        if epoch.epoch == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(fit, "report_epoch", stop)
    done = run("run", "--epochs", "50", "--num-crops", "100")
    assert done == command_line.EXIT_INTERRUPTED
    assert "stopped by Ctrl-C after 2 epochs" in capsys.readouterr().err
    assert run("export") == 0
    assert not Path("champion").exists()


def test_the_help_shows_the_defaults_of_the_recipes(capsys):
    with pytest.raises(SystemExit):
        command_line.main(["fit", "--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert f"(default: {fitting.FitConfig().epochs}; {fitting.PROTOTYPE.epochs} for the" in text
    assert f"(default: {render.RenderConfig().num_crops}; " in text


def test_an_extra_set_needs_a_name(capsys):
    with pytest.raises(SystemExit):
        command_line.main(["evaluate", "--extra", "folder"])
    assert "NAME=PATH" in capsys.readouterr().err


def test_no_data_is_an_error_with_a_remedy(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "training", "crops", "--data-cache", tmp_path / "cache"],
        check=False,
        capture_output=True,
        text=True,
        env={"PATH": str(tmp_path), "HOME": str(tmp_path)},
    )
    assert done.returncode == command_line.EXIT_ERROR
    assert "npm is not installed" in done.stderr
    assert "--data-folder" in done.stderr


@pytest.mark.slow
def test_the_shipped_crops_are_the_ones_the_command_writes(tmp_path):
    cache = Path(".cache/mnist")
    if not cache.is_dir():
        pytest.skip("MNIST is not cached here; `python -m training crops` fetches it")
    # In a process of its own: the tiny steps above have another MNIST.
    command = [sys.executable, "-m", "training", "crops", "--folder", str(tmp_path)]
    environment = {key: value for key, value in os.environ.items() if key[:7] != "DIGITS_"}
    subprocess.run(command, check=True, env=environment)
    shipped = Path("tests/data/crops")
    names = sorted(path.name for path in tmp_path.iterdir())
    assert len(names) == 201
    for name in names:
        assert (tmp_path / name).read_bytes() == (shipped / name).read_bytes()


def test_several_seeds_are_fitted_compared_and_summed_up(tiny_world, capsys):
    assert run("run", *fit_arguments("--until", "evaluate", "--seeds", "1", "2")) == 0
    printed = capsys.readouterr().out
    assert "work, 2 seeds" in printed
    assert command_line.main(["compare", "work/seed-1", "work/seed-2", "work"]) == 0
    printed = capsys.readouterr().out
    assert "| work/seed-2 | " in printed
    assert "rendered, 20 crops" in printed
    assert "work, 2 seeds" in printed
    run_id = load_fit(Workspace(Path("work/seed-1"))).run_id
    assert command_line.main(["compare", "work/seed-1", run_id]) == 0
    assert f"no crop changed sides in {run_id}" in capsys.readouterr().out


def test_several_seeds_stop_before_the_gate(tiny_world, capsys):
    assert run("run", *fit_arguments("--seeds", "3", "4")) == command_line.EXIT_ERROR
    assert "--until evaluate" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["nowhere", "empty"])
def test_a_run_that_was_not_evaluated_cannot_be_compared(tiny_world, capsys, name):
    Path("empty").mkdir()
    assert command_line.main(["compare", name, name]) == command_line.EXIT_ERROR
    error = capsys.readouterr().err
    assert name in error
    assert "evaluate" in error


def test_the_harm_of_a_champion_is_a_table_of_all_kinds(whole_run, monkeypatch, capsys):
    monkeypatch.chdir(whole_run)
    assert command_line.main(["harm", "--champion", "champion"]) == 0
    printed = capsys.readouterr().out
    assert all(f"| {kind.replace('_', ' ')} |" in printed for kind in KINDS)


def test_a_short_try_is_compared_on_validation_crops(tiny_world, capsys):
    assert command_line.main(["try", *fit_arguments("--work", "tried")]) == 0
    assert command_line.main(["compare", "tried", "tried"]) == 0
    printed = capsys.readouterr().out
    assert re.search(r"validation, rendered, \d+ crops", printed)
    assert "only tried, not evaluated" in printed


def test_a_second_command_does_not_write_into_the_same_work_folder(tmp_path, capsys):
    with workspace_lock.hold(tmp_path):
        assert command_line.main(["export", "--work", str(tmp_path)]) == 2
    assert f"another training command writes into {tmp_path}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("named", "folder"),
    [("", "model/champion"), ("s3://models/champion", "model/champion"), ("/srv/one", "/srv/one")],
)
def test_the_champion_is_the_folder_that_the_service_reads(monkeypatch, named, folder):
    monkeypatch.setenv("DIGITS_CHAMPION", named)
    monkeypatch.setenv("DIGITS_TRAINING_WORK", "/srv/work")
    parser = build_parser()
    assert str(parser.parse_args(["rollback", "--why", "worse"]).champion) == folder
    promote = parser.parse_args(["promote", "--why", "better"])
    assert (str(promote.champion), str(promote.work)) == (folder, "/srv/work")
