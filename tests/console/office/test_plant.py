"""The plant page: what it shows without data, and that its figures are those of the archive."""

import json
import re
from datetime import UTC, datetime

import made_mail
import numpy as np
import pytest

from capture.archive import PARQUET
from console.office.office_pages import pages
from model.artifact import CHAMPION

MANIFEST = json.loads((CHAMPION / "manifest.json").read_text())
# Of a Parquet file: its end looks whole, so it is not left out as damaged.
UNREADABLE = b"PAR1no footer" + (9).to_bytes(4, "little") + b"PAR1"
THRESHOLDS = {row["error_target"]: row["threshold"] for row in MANIFEST["thresholds"]}


@pytest.fixture
def client(sign_in):
    return sign_in(pages(), "review")


def fill(console, *, num_days=2, keyed=True, **options):
    """Days of mail that the champion's threshold was applied to."""
    rng = np.random.default_rng(2)
    given = {
        "threshold": THRESHOLDS[0.001],
        "audit_frac": 0.1,
        "garbage_threshold": MANIFEST["garbage_threshold"],
        "version": MANIFEST["version"],
    } | options
    for day in range(num_days):
        frame = made_mail.draw(1_000, rng, **given)
        frame = made_mail.store_day(console.archive, frame, day, rng)
        if keyed:
            made_mail.key_by_people(console.archive, frame)


def text_of(answer):
    return " ".join(re.sub(r"<[^>]+>", " ", answer.text).split())


def test_an_empty_archive_is_told_with_the_command_that_fills_it(client):
    answer = client.get("/plant")
    assert answer.status_code == 200
    assert "There is no captured mail" in answer.text
    assert "python -m monitoring ship" in answer.text


def test_mail_of_another_model_is_told_as_such(client, console):
    fill(console, version="3")
    assert "none was answered by the champion" in text_of(client.get("/plant"))


def test_without_a_label_the_labels_needed_and_the_command_are_told(client, console):
    fill(console, keyed=False)
    page = text_of(client.get("/plant"))
    assert "Nobody has audited an accepted read yet" in page
    assert "An interval no wider than the target itself takes about" in page
    assert "python -m monitoring audits --day 2026-11-02..2026-11-03 > audits.csv" in page


@pytest.mark.parametrize(
    "query", ["target=0.3", "target=", "days=9999", "days=x", "target=%00", "days=7.5"]
)
def test_a_wrong_choice_is_refused_with_what_can_be_given(client, console, query):
    fill(console, num_days=1)
    answer = client.get(f"/plant?{query}")
    assert answer.status_code == 400
    assert re.search(r"give \d+ or|the model has", answer.text)


def test_the_target_of_the_newest_reads_is_the_one_in_force_and_shown_first(client, console):
    fill(console, threshold=THRESHOLDS[0.002])
    page = client.get("/plant").text
    shown = re.findall(r'<section class="panel" data-target="([^"]+)">', page)
    assert shown == ["0.002"]
    assert "At most 1 in 500 wrong, the target in force" in page


def test_a_chosen_target_is_shown_without_javascript(client, console):
    fill(console)
    page = client.get("/plant?target=0.01&days=7").text
    assert re.findall(r'<section class="panel" data-target="([^"]+)">', page) == ["0.01"]
    assert re.search(r'value="0.01" checked', page)


def test_a_threshold_of_no_target_is_told(client, console):
    fill(console, threshold=0.9)
    assert "no target is marked as in force" in text_of(client.get("/plant"))


def test_fewer_days_than_a_week_take_the_simulators_hours(client, console):
    fill(console, num_days=2)
    assert "the usual day of the capacity simulator" in text_of(client.get("/plant"))


def test_a_week_of_mail_has_its_own_hours(client, console):
    fill(console, num_days=7, keyed=False)
    assert "as this office's mail came in these days" in client.get("/plant").text


def test_a_captured_share_is_scaled_up_to_all_reads(client, console, monkeypatch):
    service = console.settings.service.model_copy(update={"capture_sample_frac": 0.5})
    fill(console)
    object.__setattr__(console.settings, "service", service)
    page = text_of(client.get("/plant"))
    assert "A day: 2,000 reads" in page
    assert "50.0% of the reads are captured" in page


def test_a_day_that_is_not_over_is_left_out_of_the_volume(sign_in, console, monkeypatch):
    fill(console, num_days=2)
    noon = datetime(2026, 11, 3, 12, tzinfo=UTC)
    monkeypatch.setattr(type(console), "now_us", staticmethod(lambda: int(noon.timestamp() * 1e6)))
    page = text_of(sign_in(pages(), "review").get("/plant"))
    assert "the mean of 1 whole day" in page


def test_a_damaged_file_of_the_archive_is_no_500(client, console):
    fill(console, num_days=1)
    key = console.archive.find("records/")[0]
    console.archive.put(key, UNREADABLE, content_type=PARQUET)
    answer = client.get("/plant")
    assert answer.status_code == 503
    assert "cannot be read" in answer.text


def cut_a_day(console, day):
    key = next(one for one in console.archive.find("records/") if f"day={day}" in one)
    console.archive.put(key, console.archive.get(key)[:-9], content_type=PARQUET)
    return key


def test_a_day_with_a_damaged_file_is_named_with_the_reason_and_what_to_do(client, console):
    fill(console, num_days=3)
    page = text_of(client.get("/plant"))
    assert "the mean of 3 whole days" in page
    assert "incomplete" not in page
    key = cut_a_day(console, "2026-11-02")
    answer = client.get("/plant")
    page = text_of(answer)
    assert answer.status_code == 200
    assert "reads of 2026-11-02 are missing below" in page
    assert "because it was cut" in page
    assert key in page
    assert "Restore it from a copy" in page
    assert "the mean of 2 whole days" in page
    assert "incomplete" in text_of(client.get("/plant"))  # also when nothing is read again


def test_reads_of_a_clock_that_was_ahead_do_not_hide_the_mail(client, console, monkeypatch):
    fill(console, num_days=3)
    key = console.archive.find("records/")[0]
    ahead = key.replace("day=2026-11-02", "day=2036-01-01")
    assert ahead != key
    console.archive.put(ahead, console.archive.get(key), content_type=PARQUET)
    assert "on 3 days" in text_of(client.get("/plant"))


def test_where_every_file_is_damaged_the_page_does_not_say_that_none_was_captured(client, console):
    fill(console, num_days=1)
    key = cut_a_day(console, "2026-11-02")
    page = text_of(client.get("/plant"))
    assert "There is no captured mail" not in page
    assert key in page


def test_a_keyer_may_not_see_the_plant(sign_in):
    assert sign_in(pages(), "label").get("/plant").status_code == 403
