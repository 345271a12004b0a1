import json

from contract import slo
from loadtest.load import soak


def intervals(rss_mb, *, p99_ms=5.0, failed_frac=0.0):
    return [
        soak.Interval(number / 6, value, 1.0, p99_ms, failed_frac)
        for number, value in enumerate(rss_mb)
    ]


def test_flat_memory_and_fast_answers_pass():
    assert soak.judge(intervals([100.0] * 60), slo.load()) == []


def test_memory_that_grows_after_the_first_minute_fails():
    assert soak.judge(intervals([100.0 + n for n in range(60)]), slo.load())
    assert soak.judge(intervals([80.0 + n for n in range(7)] + [86.0] * 50), slo.load()) == []


def test_slow_and_failed_requests_fail():
    assert "p99" in soak.judge(intervals([100.0] * 9, p99_ms=200.0), slo.load())[0]
    assert "failed" in soak.judge(intervals([100.0] * 9, failed_frac=0.1), slo.load())[0]


def test_a_soak_writes_its_figures_and_two_charts(tmp_path):
    facts = {"date": "d", "machine": "m", "commit": "c", "command": "x"}
    soak.write(tmp_path, facts, intervals([100.0] * 9), [])
    assert json.loads((tmp_path / "soak.json").read_text())["growth_mb"] == 0
    assert (tmp_path / "soak.html").read_text().count("<svg") == 2
