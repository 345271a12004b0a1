"""A clean week of mail as the reference: shown, adopted, per site, and for one model only."""

import re
from datetime import date

import numpy as np
import pytest

from capture import reference as champion_reference
from capture.archive import PARQUET, Window, encode
from capture.erasure import picture_name
from capture.predictions import Predictions
from capture.reference import build, to_parquet
from capture.rows import rows_by_partition
from capture.store import open_store
from monitoring import mail_reference, reference_page, rules
from monitoring.__main__ import main
from monitoring.report_store import read_summaries
from monitoring.site_rules import judge_sites

DAY = date(2026, 11, 20)


@pytest.fixture
def mail(tmp_path, make_record, monkeypatch):
    """600 crops of two sites that the champion read, and 100 that another model read."""
    records = [make_record(n, site=("leeds", "york")[n % 2]) for n in range(600)]
    others = [make_record(n, model_version="2") for n in range(600, 700)]
    store_records(tmp_path, [*records, *others])
    path = tmp_path / "champion.parquet"
    path.write_bytes(to_parquet(build(predictions(records))))
    monkeypatch.setattr(champion_reference, "CHAMPION", path)
    monkeypatch.setattr(mail_reference, "MIN_ROWS", 500)
    return path


def store_records(tmp_path, records, name="00ff"):
    store = open_store(str(tmp_path / "captures"))
    for folder, table in rows_by_partition(records)[0].items():
        store.put(f"{folder}/{name}.parquet", encode(table), content_type=PARQUET)


def predictions(records, version="3"):
    return Predictions(
        model_version=version,
        threshold=0.9,
        garbage_threshold=0.0,
        crops=[record.crop for record in records],
        images=np.stack([record.image for record in records]),
        probs=np.array([record.probs for record in records], np.float32),
        garbage=np.full(len(records), -4, np.float32),
        labels=np.array([record.digit for record in records]),
    )


def run(tmp_path, *arguments, days=str(DAY)):
    folders = ["--store", str(tmp_path / "captures"), "--reports", str(tmp_path / "reports")]
    return main(["reference", "--from", days, *folders, *arguments])


def loaded(tmp_path):
    return mail_reference.load("champion", open_store(str(tmp_path / "reports")))


def test_the_reference_is_of_the_champion_that_the_setting_names(tmp_path, mail, make_record):
    records = [make_record(n, model_version="9") for n in range(600)]
    folder = tmp_path / "another"
    folder.mkdir()
    made = to_parquet(build(predictions(records, version="9")))
    (folder / mail.name).write_bytes(made)
    reports = open_store(str(tmp_path / "reports"))
    assert mail_reference.load("champion", reports, str(folder)).model_version == "9"


def test_a_week_is_shown_and_not_adopted(tmp_path, mail, capsys):
    assert run(tmp_path) == 0
    shown = capsys.readouterr().out
    assert "600 crops, 0.0% rejected" in shown
    assert "site leeds: 0.0% of 300 rejected" in shown
    assert "not adopted" in shown
    assert loaded(tmp_path).days == ""


def test_an_adopted_week_is_what_reports_compare_with(tmp_path, mail):
    assert run(tmp_path, "--adopt") == 0
    found = loaded(tmp_path)
    assert (found.days, len(found.rows)) == (str(DAY), 600)
    assert sorted(found.of_sites["site"].unique()) == ["leeds", "york"]


def test_what_is_wrong_is_judged_by_validation_data(tmp_path, mail):
    run(tmp_path, "--adopt")
    found = loaded(tmp_path)
    assert found.rows["label"].isna().all()
    assert found.accepted_errors(0.9).tolist() == [False] * 600


def test_an_adopted_week_ends_with_its_model(tmp_path, mail, make_record, caplog):
    run(tmp_path, "--adopt")
    records = [make_record(n) for n in range(600)]
    mail.write_bytes(to_parquet(build(predictions(records, "4"))))
    assert loaded(tmp_path).days == ""
    assert "until you adopt another week" in caplog.text


def test_a_week_of_which_too_little_is_the_champion_s_is_refused(tmp_path, mail, capsys):
    assert run(tmp_path, days="2026-11-21") == 1
    assert "a reference needs 500" in capsys.readouterr().err


def test_a_week_that_must_be_acted_on_is_not_adopted(tmp_path, mail, make_record, capsys):
    rejected = [make_record(n, accepted=False, time_us=int(1795305600e6)) for n in range(600)]
    day = str(Window(date(2026, 11, 22), date(2026, 11, 22)))
    store_records(tmp_path, rejected)
    assert run(tmp_path, "--adopt", days=day) == 1
    assert "is not clean" in capsys.readouterr().err
    assert loaded(tmp_path).days == ""


@pytest.fixture
def sites(rows_of):
    """Ten sites of which the first writes with another pen, on two days."""

    def day(seed):
        rows = rows_of(4_000, seed, sites=10)
        first = sorted(rows["site"].unique())[0]
        rows.loc[rows["site"] == first, "stroke_width_px"] += 1.0
        return rows

    return day(1), day(2)


def test_a_site_that_is_as_it_always_was_is_not_named(sites, reference):
    today, before = sites
    assert sum(one.named for one in judge_sites(today, reference.rows)[0]) == 1
    assert not any(one.named for one in judge_sites(today, reference.rows, before)[0])


def test_a_site_that_leaves_its_own_baseline_is_named(sites, reference):
    today, before = sites
    first = sorted(today["site"].unique())[0]
    today.loc[today["site"] == first, "paper_grain"] += 1.0
    (named,) = [one for one in judge_sites(today, reference.rows, before)[0] if one.named]
    assert (named.site, named.feature) == (first, "paper_grain")


def test_a_site_that_always_rejects_more_is_named_only_for_more_than_that(rows_of, reference):
    def day(seed, share):
        rows = rows_of(4_000, seed, sites=4, rejected=0.05)
        first = sorted(rows["site"].unique())[0]
        rng = np.random.default_rng(seed)
        mine = (rows["site"] == first).to_numpy()
        rows.loc[mine, "accepted"] = rng.random(mine.sum()) >= share
        return rows

    baseline = day(1, 0.15)
    for share, num_named in ((0.15, 0), (0.30, 1)):
        found = judge_sites(day(2, share), reference.rows, baseline)[1]
        assert len(found) == num_named


def test_clean_mail_beside_its_own_week_is_calm(rows_of, reference):
    """The same mail is at watch beside validation data that it does not look like."""
    from dataclasses import replace

    moved = rows_of(5_000, 5)
    moved["paper_grain"] += 0.5
    adopted = replace(reference, rows=moved, judged=reference.rows, of_sites=moved, days="a week")
    mail = rows_of(2_000, 6)
    mail["paper_grain"] += 0.5
    assert rules.assess(mail, reference).severity == 1
    assert rules.assess(mail, adopted).severity == 0


def test_the_week_is_shown_with_pictures_of_each_site_before_it_is_adopted(tmp_path, mail, capsys):
    assert run(tmp_path) == 0
    folder = tmp_path / "reports" / "reference" / str(DAY)
    assert f"reference/{DAY}/index.html" in capsys.readouterr().out
    page = (folder / "index.html").read_text()
    for site in ("leeds", "york"):
        section = page.split(f"<h2>{site}</h2>")[1].split("</section>")[0]
        shown = re.findall(r'src="([0-9a-f]+-0\.png)"', section)
        assert len(shown) >= reference_page.ORDINARY_PER_SITE
        assert all((folder / name).is_file() for name in shown)


def test_an_erased_read_leaves_the_pictures_of_the_week(tmp_path, mail, make_record):
    run(tmp_path)
    folder = tmp_path / "reports" / "reference" / str(DAY)
    shown = {path.name for path in folder.glob("*.png")}
    read_ids = [make_record(n).request_id for n in range(600)]
    (one, *_) = [read_id for read_id in read_ids if picture_name(read_id, 0) in shown]
    places = ["--store", str(tmp_path / "captures"), "--reports", str(tmp_path / "reports")]
    assert main(["erase", one, "--spool", str(tmp_path / "spool"), *places]) == 0
    assert {path.name for path in folder.glob("*.png")} == shown - {picture_name(one, 0)}


def test_the_page_of_a_week_is_no_report_of_a_day(tmp_path, mail):
    run(tmp_path)
    assert read_summaries(open_store(str(tmp_path / "reports"))) == []
