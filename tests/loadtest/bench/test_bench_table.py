import pytest

from loadtest.bench.catalog import CAPTURING, UNDER_BENTOML
from loadtest.bench.table import BEGIN, END, insert, render
from loadtest.bench.targets import ASYNC, fastest_peer, measured_targets
from loadtest.servers import OURS


def figure(value):
    return {"median": value, "rounds": [value, value]}


def row(rps, errors=0.0):
    return {
        f"{name}_{side}": figure(value)
        for side in ("scanned", 28, 128)
        for name, value in (("rps", rps), ("cpu_us", 1e6 / rps), ("errors", errors))
    }


RECORD = {"date": "2026-01-02", "machine": "a machine", "commit": "abc", "command": "bench"}
SATURATION = RECORD | {
    "rows": {OURS: row(6000.0), "bentoml": row(600.0, errors=2.0)},
    "absent": {"ray": "no package"},
    "crops": ["scanned", "28", "128"],
}


def line_of(text, words):
    return next(line for line in text.splitlines() if words in line)


def test_ratios_are_relative_to_digitline_of_the_same_run():
    text = render({"parts": {"saturation": SATURATION}})
    assert "| 6,000 | 1.0x | 167 |" in line_of(text, "**Digitline**")
    assert "| 600 | 10.0x | 1,667 |" in line_of(text, "(`PIL.Image`)")


def test_the_first_crop_set_is_the_first_column():
    header = line_of(render({"parts": {"saturation": SATURATION}}), "| Server |")
    assert header.split("|")[2].strip() == "scanned: requests/s per core"


def test_results_without_scanned_crops_are_still_drawn():
    old = RECORD | {"rows": {OURS: row(6000.0)}}
    assert "MNIST's frame: requests/s per core" in render({"parts": {"saturation": old}})


def test_each_target_is_one_line_with_its_limit():
    parts = {
        "saturation": RECORD
        | {"rows": {OURS: row(6000.0), "bentoml": row(600.0), CAPTURING: row(5000.0)}},
        "latency": RECORD | {"rows": {OURS: {"p99_ms": figure(2.2)}, ASYNC: {"p99_ms": figure(2)}}},
        "crops": RECORD | {"rows": {OURS: {"packed_256": figure(7), "bare_packed": figure(10)}}},
        "stages": RECORD | {"rows": {"decode_us_noisy_128_png": 75.0}},
    }
    found = {one.what: (round(one.value, 2), one.met) for one in measured_targets(parts)}
    assert found == {
        "scanned: rate over BentoML's, the documented way": (10.0, True),
        "scanned: rate over the fastest peer's (bentoml)": (10.0, True),
        "MNIST's frame: rate over BentoML's, the documented way": (10.0, False),
        "MNIST's frame: rate over the fastest peer's (bentoml)": (10.0, True),
        "100 requests/s: p99 over FastAPI's, async handler": (1.1, True),
        "256 packed crops: share of a bare loop": (70.0, True),
        "scanned: rate with capture, of that without": (83.33, False),
        "MNIST's frame: rate with capture, of that without": (83.33, False),
        "decode a noisy 128 px PNG": (75.0, False),
    }


def test_a_target_that_was_not_measured_has_no_line():
    assert list(measured_targets({})) == []


def test_the_fastest_peer_is_of_another_make():
    rows = {OURS: row(9.0), CAPTURING: row(8.0), UNDER_BENTOML: row(7.0), ASYNC: row(3.0)}
    assert fastest_peer(rows | {"bentoml": row(1.0)}, "rps_28") == ASYNC


def test_failed_requests_and_absent_peers_are_shown():
    text = render({"parts": {"saturation": SATURATION}})
    assert line_of(text, "(`PIL.Image`)").endswith("| 12 |")
    assert "did not take part: no package" in text


def test_every_table_has_its_provenance():
    text = render({"parts": {"saturation": SATURATION}})
    assert "2026-01-02, a machine, commit abc: `bench`" in text


def test_tables_replace_only_the_text_between_the_marks():
    document = f"before\n{BEGIN}\nold\n{END}\nafter"
    written = insert(document, "new")
    assert written == f"before\n{BEGIN}\n\nnew\n{END}\nafter"
    assert insert(written, "new") == written


def test_a_document_without_marks_is_an_error():
    with pytest.raises(ValueError, match="needs the lines"):
        insert("nothing", "new")


def job(bare, own):
    return {"bare_us": figure(bare), "job_us": figure(own), "share": figure(bare / own)}


ENGINES = {
    f"{name}{end}": figure(value)
    for name, rate in (("one_process", 100.0), ("two_processes", 190.0), ("ray_ours", 150.0))
    for end, value in (("", rate), ("_start_s", 1.5))
}
BULK = RECORD | {
    "rows": {
        "parquet_files": job(90.0, 100.0),
        "parquet_arrays": job(89.0, 100.0),
        "files_28": job(80.0, 100.0),
        "files_scanned": job(190.0, 200.0),
        "engines": ENGINES,
    },
    "absent": {},
}


def test_bulk_jobs_are_shares_of_a_bare_loop_and_engines_beside_one_process():
    text = render({"parts": {"bulk": BULK}})
    assert line_of(text, "| PNG files, 28 px |") == "| PNG files, 28 px | 80 | 100 | 80% |"
    assert line_of(text, "| two processes |") == "| two processes | 190 | 1.90x | 1.5 |"
    met = {one.what: one.met for one in measured_targets({"bulk": BULK})}
    assert met == {
        "bulk job, parquet files: share of a bare loop": True,
        "bulk job, parquet arrays: share of a bare loop": False,
        "bulk job, files 28: share of a bare loop": False,
        "bulk job, files scanned: share of a bare loop": True,
        "bulk job on two Ray nodes, over one process": False,
    }


def test_bulk_without_ray_says_so():
    rows = {name: value for name, value in ENGINES.items() if not name.startswith("ray")}
    part = BULK | {"rows": BULK["rows"] | {"engines": rows}, "absent": {"ray": "not installed"}}
    assert "| ray | did not take part: not installed |" in render({"parts": {"bulk": part}})
