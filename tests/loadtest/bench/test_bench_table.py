import pytest

from loadtest.bench.table import BEGIN, END, insert, render
from loadtest.servers import OURS


def figure(value):
    return {"median": value, "rounds": [value, value]}


def row(rps, errors=0.0):
    return {
        f"{name}_{side}": figure(value)
        for side in (28, 128)
        for name, value in (("rps", rps), ("cpu_us", 1e6 / rps), ("errors", errors))
    }


RECORD = {"date": "2026-01-02", "machine": "a machine", "commit": "abc", "command": "bench"}
SATURATION = RECORD | {
    "rows": {OURS: row(6000.0), "bentoml": row(600.0, errors=2.0)},
    "absent": {"ray": "no package"},
}


def test_ratios_are_relative_to_bentoml_and_digitline_of_the_same_run():
    text = render({"parts": {"saturation": SATURATION}})
    ours = next(line for line in text.splitlines() if "**Digitline**" in line)
    theirs = next(line for line in text.splitlines() if "documented way" in line)
    assert "| 6,000 | 10.0x | 1.0x |" in ours
    assert "| 600 | 1.0x | 10.0x |" in theirs


def test_failed_requests_and_absent_peers_are_shown():
    text = render({"parts": {"saturation": SATURATION}})
    assert next(line for line in text.splitlines() if "documented way" in line).endswith("| 8 |")
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
