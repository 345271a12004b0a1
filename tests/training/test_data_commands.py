"""`snapshot`, `validate` and `data` as commands, from labels to a page."""

import re

import pytest
from labelled_mail import capture, label

from capture.store import open_store
from training.__main__ import main


@pytest.fixture
def run(tmp_path, capsys):
    def run(*arguments):
        code = main([*map(str, arguments), "--data-store", str(tmp_path / "data")])
        out, error = capsys.readouterr()
        return code, out + error

    return run


@pytest.fixture
def archive(tmp_path):
    store = open_store(str(tmp_path / "archive"))
    capture(store, tmp_path, "2026-10", 40)
    label(store, "2026-10", range(40))
    return store


def test_a_snapshot_is_stored_once_and_named(run, archive):
    code, text = run("snapshot", "--as-of", "2026-10", "--store", archive.url)
    assert code == 0
    version = re.search(r"snapshot (2026-10-[0-9a-f]{8}): stored; 32 crops", text)[1]
    code, text = run("snapshot", "--as-of", "2026-10", "--store", archive.url)
    assert (code, f"{version}: there already, with the same content" in text) == (0, True)


@pytest.mark.parametrize("month", ["2026-13", "november", "2026-1"])
def test_a_month_that_is_none_is_refused_in_one_line(run, archive, month):
    code, text = run("snapshot", "--as-of", month, "--store", archive.url)
    assert code == 2
    assert text == f"error: --as-of: {month!r} is no month; write it as 2026-11\n"


def test_other_content_is_refused_in_one_line(run, archive):
    run("snapshot", "--as-of", "2026-10", "--store", archive.url)
    label(archive, "2026-10", [3], said="7", who="bob")
    code, text = run("snapshot", "--as-of", "2026-10", "--store", archive.url)
    assert (code, text.count("\n")) == (2, 1)
    assert "exists with other content" in text


def test_validate_writes_a_page_with_the_verdict(run, archive, tiny_champion, tmp_path):
    run("snapshot", "--as-of", "2026-10", "--store", archive.url)
    page = tmp_path / "page.html"
    code, text = run("validate", "--as-of", "2026-10", "--champion", tiny_champion, "--page", page)
    assert code == 0
    assert re.search(r"2026-10-[0-9a-f]{8}: train on \d+ of 32 crops", text)
    html = page.read_text()
    assert "32" in html
    assert "koeln-1" in html
    assert "data:image/png;base64," in html


def test_validate_without_a_snapshot_says_how_to_make_one(run, tiny_champion):
    code, text = run("validate", "--as-of", "2026-10", "--champion", tiny_champion)
    assert code == 2
    assert "python -m training snapshot --as-of 2026-10" in text


def test_added_sets_are_listed(run, tmp_path, crops):
    folder = tmp_path / "mine" / str(crops[0].label)
    folder.mkdir(parents=True)
    (folder / "a.png").write_bytes(crops[0].png)
    code, text = run("data", "add", tmp_path / "mine", "--name", "mine", "--site", "bonn-1")
    assert (code, "1 crops added as mine, site bonn-1" in text) == (0, True)
    assert "mine: 1 crops, site bonn-1, added on" in run("data", "list")[1]
