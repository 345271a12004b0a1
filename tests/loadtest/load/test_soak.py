import json

from contract import slo
from loadtest import servers
from loadtest.__main__ import COMMANDS, main
from loadtest.load import soak
from loadtest.simulator import validate


def stretches(rss_mb, *, p99_ms=5.0, failed_frac=0.0):
    return [
        soak.Stretch(number / 6, value, 1.0, p99_ms, failed_frac)
        for number, value in enumerate(rss_mb)
    ]


def test_flat_memory_and_quick_answers_pass():
    assert soak.judge(stretches([100.0] * 60), slo.load()) == []


def test_memory_that_grows_after_the_first_minute_fails():
    assert soak.judge(stretches([100.0 + n for n in range(60)]), slo.load())
    assert soak.judge(stretches([80.0 + n for n in range(7)] + [86.0] * 50), slo.load()) == []


def test_slow_and_failed_requests_fail():
    assert "p99" in soak.judge(stretches([100.0] * 9, p99_ms=200.0), slo.load())[0]
    assert "failed" in soak.judge(stretches([100.0] * 9, failed_frac=0.1), slo.load())[0]


def test_a_soak_keeps_figures_and_a_picture(tmp_path):
    facts = {"date": "d", "machine": "m", "commit": "c", "command": "x"}
    soak.keep(tmp_path, facts, stretches([100.0] * 9), [])
    assert json.loads((tmp_path / "soak.json").read_text())["growth_mb"] == 0
    assert (tmp_path / "soak.html").read_text().count("<svg") == 2


def test_the_validation_compares_in_one_row_per_step():
    row = validate.Comparison(2, 40.0, 7.0, 7.5, 8.0, 8.5, 15.0, 20.0, 19.0, 0.94, 1.05)
    assert len(validate.text([row, row]).splitlines()) == 3


def test_every_command_is_there_and_tells_its_options(capsys):
    assert main(["--help"]) == 0
    listed = capsys.readouterr().out
    for name in COMMANDS:
        assert name in listed
    assert main(["nonsense"]) == 2


def test_a_service_that_is_not_there_is_no_verdict(tmp_path, capsys):
    host = f"http://127.0.0.1:{servers.free_port()}"
    arguments = ["run", "steady", "--open", "--minutes", "0.1", "--host", host]
    assert main([*arguments, "--out", str(tmp_path)]) == 1
    assert "cannot be reached" in capsys.readouterr().err
