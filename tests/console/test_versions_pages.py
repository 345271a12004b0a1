"""The page of models: what it shows of champion and candidates, and what is missing."""

import json
import os
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from made_candidate import FAILED, MET, RUN, write_answers, write_candidate
from made_records import make

from capture.archive import PARQUET, encode
from capture.erasure import erase_from_archive
from capture.record import CaptureRecord
from capture.rows import to_table
from console.versions import versions_pages
from console.versions.champions import Change
from console.versions.changed_crops import Answer

PAGES = versions_pages.pages()


@pytest.fixture
def places(console, own_champion):
    """The console's settings with a champion of its own."""
    object.__setattr__(console, "settings", replace(console.settings, champion=own_champion))
    return console.settings


@pytest.fixture
def candidate(places):
    return write_candidate(places.work, places.champion, FAILED, MET)


def test_without_a_candidate_the_page_says_how_to_make_one(sign_in, places):
    text = sign_in(PAGES).get("/models").text
    assert "No candidate" in text
    assert "python -m training retrain" in text


def test_without_a_champion_the_page_says_how_to_make_one(sign_in, console, tmp_path):
    settings = replace(console.settings, champion=tmp_path / "nothing")
    object.__setattr__(console, "settings", settings)
    answer = sign_in(PAGES).get("/models")
    assert answer.status_code == 200
    assert "No champion" in answer.text


def test_the_candidates_numbers_stand_beside_the_champions(sign_in, candidate):
    text = sign_in(PAGES).get("/models").text
    assert "Champion tiny-1" in text
    for shown in ("99.68%", "94.70%", "0.02%", "4 lost, 5 won", "287 kB", "2026-11-abcdef12"):
        assert shown in text
    assert "bonn (600), köln (18)" in text


def test_harm_is_the_mean_over_kinds_without_the_one_that_is_only_reported(sign_in, candidate):
    assert re.search(r"harm, damage seen in training</td><td>-</td><td>1\.50%", _table(sign_in))


def _table(sign_in):
    return sign_in(PAGES).get("/models").text


def test_limits_that_are_not_met_come_first_with_value_and_limit(sign_in, candidate):
    text = _table(sign_in)
    assert text.index("harm of letter") < text.index("mnist: accuracy")
    assert "at most 0.015" in text
    assert "at least 0.996" in text
    assert "gate refused" in text


def test_a_remedy_longer_than_a_few_lines_is_folded(sign_in, places):
    remedy = "apt-get install " + " ".join(f"fonts-{number}" for number in range(40))
    write_candidate(places.work, places.champion, {**FAILED, "remedy": remedy}, MET)
    page = sign_in(PAGES).get("/models").text
    folded = f"<details><summary>how to make it</summary><code>{remedy}</code></details>"
    assert folded in page


def test_a_verdict_about_another_champion_is_shown_as_out_of_date(sign_in, candidate, places):
    manifest = json.loads((places.champion / "manifest.json").read_text())
    manifest["sha256"] = "0" * 64
    (places.champion / "manifest.json").write_text(json.dumps(manifest))
    assert "verdict is out of date" in _table(sign_in)


def test_a_folder_that_was_only_fitted_names_its_next_step(sign_in, candidate, places):
    (places.work / "evaluation.json").unlink()
    assert f"python -m training evaluate --work {places.work}" in _table(sign_in)


@pytest.mark.parametrize(
    "name", ["fit.json", "evaluation.json", "verdict.json", "outcome.json", "retrain.json"]
)
@pytest.mark.parametrize("content", ["", "[]", '{"sets": [], "done": 3}', '{"reasons": [{}]}'])
def test_a_damaged_file_does_not_break_the_page(sign_in, candidate, places, name, content):
    (places.work / f"{name}.json").write_text(content)
    assert sign_in(PAGES).get("/models").status_code == 200


def test_seeds_in_sub_folders_are_candidates_of_their_own(sign_in, candidate, places):
    write_candidate(places.work / "seed-8", places.champion)
    text = _table(sign_in)
    assert "Candidate seed-8" in text
    assert sign_in(PAGES).get("/models?candidate=seed-8").status_code == 200
    assert sign_in(PAGES).get("/models?candidate=seed-9").status_code == 404


def test_a_run_links_to_mlflow_where_that_is_a_server(sign_in, console, candidate):
    settings = replace(console.settings, mlflow_url="http://127.0.0.1:5000")
    object.__setattr__(console, "settings", settings)
    assert f'href="http://127.0.0.1:5000/#/runs/{RUN}"' in _table(sign_in)


def test_a_run_without_a_server_comes_with_the_command_that_opens_it(sign_in, candidate):
    text = _table(sign_in)
    assert "mlflow ui --backend-store-uri" in text
    assert "/#/runs/" not in text


def test_the_history_shows_who_and_why_and_which_were_rollbacks(sign_in, places):
    for before, after, why in (("8", "9", "better in Bonn"), ("9", "8", "reads 4 as 9")):
        entry = {"when": "2026-11-26T10:00:00Z", "who": "anna", "from_version": before}
        entry |= {"to_version": after, "sha256": "0" * 64, "why": why}
        with places.champion.with_name("promotions.jsonl").open("a") as file:
            file.write(json.dumps(entry) + "\n")
    text = _table(sign_in)
    assert text.index("reads 4 as 9") < text.index("better in Bonn")
    assert "rollback" in text[: text.index("reads 4 as 9")].rpartition("<tr>")[2]
    assert not Change("", "", "8", "10", "").is_rollback


def test_a_kept_version_can_be_shown_beside_the_champion(sign_in, console, places):
    manifest = json.loads((places.champion / "manifest.json").read_text())
    kept = json.dumps(manifest | {"version": "3", "network": "narrow"}).encode()
    console.models.put("3/manifest.json", kept, content_type="application/json")
    text = sign_in(PAGES).get("/models?beside=3").text
    assert "Version 3" in text
    assert "narrow" in text


def test_the_newest_shadow_comparison_is_shown(sign_in, console, places):
    one = {
        "champion": "7", "challenger": "8", "num_both": 1234, "num_other_digit": 5,
        "champion_reject_share": 0.1, "challenger_reject_share": 0.09, "num_labelled": 3,
        "num_champion_right": 1, "num_challenger_right": 2,
    }  # fmt: skip
    for day, num in (("2026-11-25", 1), ("2026-11-26", 1234), ("2026-11-27", 0)):
        found = [one | {"num_both": num}] if num else []
        body = json.dumps({"challengers": found}).encode()
        console.reports.put(f"{day}/report.json", body, content_type="application/json")
    text = _table(sign_in)
    assert "1,234" in text
    assert "report of 2026-11-26" in text


def test_crops_whose_answer_changed_are_shown_by_what_they_lost(
    sign_in, candidate, places, crops, images
):
    digits = np.array([crop.label for crop in crops])
    confidence = np.full(len(crops), 0.99)
    digits[3] = (digits[3] + 1) % 10  # accepted and wrong: the worst
    confidence[5] = 0.5  # rejected
    write_answers(places.work, crops, images, digits, confidence)
    client = sign_in(PAGES)
    shown = re.findall(r"/models/changed/train/(\d+)\.png", client.get("/models").text)
    assert shown == ["3", "5"]
    picture = client.get("/models/changed/train/3.png")
    assert picture.headers["content-type"] == "image/png"
    assert picture.content.startswith(b"\x89PNG")
    assert client.get("/models/changed/train/4.png").status_code == 404


@pytest.mark.parametrize(
    ("better", "worse"),
    [
        (Answer(4, 0.99, accepted=True), Answer(4, 0.5, accepted=False)),
        (Answer(4, 0.5, accepted=False), Answer(9, 0.5, accepted=False)),
        (Answer(9, 0.5, accepted=False), Answer(9, 0.99, accepted=True)),
    ],
)
def test_a_rejected_crop_is_worth_more_than_a_wrong_one_that_is_accepted(better, worse):
    assert better.worth(4) > worse.worth(4)


def test_without_the_candidates_answers_the_page_says_what_writes_them(sign_in, candidate):
    assert "python -m training evaluate --work" in _table(sign_in)


def test_pictures_of_the_evaluation_stay_within_their_folder(sign_in, candidate, places):
    for folder in (places.work / "pictures", places.champion / "card"):
        folder.mkdir()
        (folder / "mistakes.png").write_bytes(b"picture")
    (places.work / "secret.png").write_bytes(b"secret")
    client = sign_in(PAGES)
    assert client.get("/models/pictures/train/mistakes.png").content == b"picture"
    assert client.get("/models/pictures/champion/mistakes.png").content == b"picture"
    for path in ("train/..%2Fsecret.png", "train/%2e%2e/secret.png", "..%2Ftrain/mistakes.png"):
        assert client.get(f"/models/pictures/{path}").status_code == 404


def test_a_report_is_linked_where_it_is(sign_in, candidate, places):
    client, link = sign_in(PAGES), 'href="/models/reports/train"'
    (places.work / "report.html").unlink(missing_ok=True)
    assert link not in client.get("/models").text
    (places.work / "report.html").write_text("<p>figures</p>")
    assert link in client.get("/models").text


def test_a_report_may_run_nothing(sign_in, candidate, places):
    (places.work / "report.html").write_text("<script>alert(1)</script>")
    answer = sign_in(PAGES).get("/models/reports/train")
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("sandbox; default-src 'none'")
    assert "script-src" not in policy


@pytest.fixture
def replayed(console, candidate, places):
    """Two crops of mail that the two read differently, in archive and list."""
    records = [make(number, site="bonn") for number in (1, 2)]
    put_records(console, records)
    lines = ["site,time,read_id,request_id,crop_index,champion,candidate,label"]
    lines += [
        f"bonn,2026-11-20 12:00:00+00:00,{one.read_id},{one.request_id},0,4,9,{label}"
        for one, label in zip(records, ("4", ""), strict=True)
    ]
    (places.work / "replay.csv").write_text("\n".join(lines) + "\n")
    return records


def put_records(console, records: list[CaptureRecord]) -> None:
    key = "records/day=2026-11-20/site=bonn/1763640000000000-a.parquet"
    console.archive.put(key, encode(to_table(records)), content_type=PARQUET)


def test_mail_that_the_two_read_differently_is_shown_with_its_label(sign_in, replayed):
    text = sign_in(PAGES).get("/models/mail/train").text
    assert text.count("data:image/png") == 2
    assert "the champion is right in 1 and the candidate in 0" in text
    assert "1 have no label" in text


def test_an_erased_read_is_gone_from_the_mail_at_once(sign_in, console, replayed):
    client = sign_in(PAGES)
    assert client.get("/models/mail/train").text.count("data:image/png") == 2
    erase_from_archive(console.archive, replayed[0].read_id)
    text = client.get("/models/mail/train").text
    assert text.count("data:image/png") == 1
    assert "1 crops are read" in text


def test_a_list_that_is_older_than_the_model_says_so(sign_in, replayed, places):
    os.utime(places.work / "replay.csv", (1, 1))
    assert "older than the candidate" in sign_in(PAGES).get("/models/mail/train").text


@pytest.mark.parametrize("content", [b"", b"a,b\n1,2\n", b"\xff\xfe", b"read_id\nx\n"])
def test_a_damaged_list_does_not_break_the_page(sign_in, replayed, places, content):
    (places.work / "replay.csv").write_bytes(content)
    assert sign_in(PAGES).get("/models/mail/train").status_code == 200


def test_looking_needs_the_scope_review(sign_in, candidate):
    for path in ("", "/mail/train", "/reports/train", "/changed/train/1.png"):
        assert sign_in(PAGES, "label").get(f"/models{path}").status_code == 403


def test_every_address_of_the_page_exists(sign_in, candidate, places):
    (places.work / "report.html").write_text("report")
    (places.champion / "report.html").write_text("report")
    client = sign_in(PAGES)
    for path in re.findall(r'(?:href|src)="(/models/[^"#]+)"', client.get("/models").text):
        assert client.get(path).status_code == 200, path


def test_the_room_is_part_of_the_console():
    text = Path("console/__main__.py").read_text()
    assert "versions_pages.pages()" in text
