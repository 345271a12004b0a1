"""Holding, releasing and asking for labels: what is stored, who may, what is noted."""

import re
from dataclasses import replace

import pytest
from drift_mail import DAYS, DIRTY, SITES, made

from capture import ship
from capture.erasure import fingerprint
from capture.label_event import LabelEvent
from capture.labels import add_events
from capture.site_states import read_all
from capture.site_sync import stored
from capture.spool import Spool
from console.drift import holds, label_requests, site_pages
from console.drift.captured_days import CapturedDays


@pytest.fixture
def client(sign_in, mail):
    return sign_in(site_pages.pages())


@pytest.fixture
def captured(mail):
    return CapturedDays(mail.archive)


def send(client, action, site=DIRTY, **fields):
    return client.post(f"/sites/{site}/{action}", data={"csrf": client.csrf, **fields})


def states_of(console):
    return {one.site: one for one in read_all(console.settings.capture.spool / "sites")}


def requests_of(console, site=DIRTY):
    with console.transaction() as database:
        return label_requests.asked_of(database, site)


def test_a_hold_is_stored_where_the_service_looks_with_who_and_why(client, console):
    assert send(client, "hold", reason="dust on the lens").status_code == 200
    incident = states_of(console)[DIRTY].incident
    assert (incident.status, incident.held_by, incident.reason) == (
        "hold",
        "anna",
        "dust on the lens",
    )


def test_a_hold_goes_to_the_tasks_of_other_machines_through_the_archive(client, mail):
    send(client, "hold", reason="dust")
    assert [(one.site, one.status) for one in stored(mail.archive)] == [(DIRTY, "hold")]


def test_a_held_site_is_shown_as_held_and_can_be_released(client, console):
    assert "by anna: dust" in send(client, "hold", reason="dust").text
    page = send(client, "release").text
    assert "by anna: dust" not in page
    incident = states_of(console)[DIRTY].incident
    assert (incident.status, incident.released_by) == ("ok", "anna")


def test_a_second_hold_and_a_release_of_a_trusted_site_are_refused(client):
    assert send(client, "release").status_code == 409
    send(client, "hold", reason="dust")
    assert send(client, "hold", reason="dust").status_code == 409


@pytest.mark.parametrize("reason", ["", "x" * 201])
def test_a_hold_needs_a_reason_of_fitting_length(client, console, reason):
    assert send(client, "hold", reason=reason).status_code == 400
    assert not states_of(console)


def test_holds_releases_and_requests_are_in_the_log(client):
    send(client, "hold", reason="dust")
    send(client, "release")
    send(client, "label")
    log = client.get("/log").text
    for action in ("hold site", "release site", "ask for labels"):
        assert action in log


def test_what_was_refused_is_not_in_the_log(client):
    send(client, "release")
    assert "release site" not in client.get("/log").text


@pytest.mark.parametrize("action", ["hold", "release", "label"])
def test_a_key_that_may_only_look_changes_nothing(sign_in, mail, console, action):
    looking = sign_in(site_pages.pages(), "review")
    assert send(looking, action, reason="dust").status_code == 403
    assert not states_of(console)
    assert not requests_of(console)
    assert "<button>Hold" not in looking.get(f"/sites/{DIRTY}").text


@pytest.mark.parametrize("action", ["hold", "release", "label"])
def test_a_site_that_nobody_knows_is_refused(client, action):
    assert send(client, action, site="Nowhere", reason="dust").status_code == 404


def test_a_folder_that_cannot_be_written_is_told_and_nothing_is_noted(client, console):
    console.settings.capture.spool.mkdir(parents=True)
    (console.settings.capture.spool / "sites").write_text("no folder")
    answer = send(client, "hold", reason="dust")
    assert answer.status_code == 503
    assert "DIGITS_CAPTURE_DIR" in answer.text
    assert "hold site" not in client.get("/log").text


def test_two_hundred_labels_are_asked_for(client, console):
    send(client, "label")
    asked = requests_of(console)
    assert len(asked) == 200
    assert {(one.site, one.asked_by) for one in asked} == {(DIRTY, "anna")}


def test_asking_twice_asks_for_other_crops(client, console):
    send(client, "label")
    send(client, "label")
    asked = [(one.read_id, one.crop_index) for one in requests_of(console)]
    assert len(set(asked)) == 400


def test_the_page_tells_how_many_of_them_are_labelled(client, console, mail):
    send(client, "label")
    first = requests_of(console)[0]
    add_events(mail.archive, [LabelEvent(first.read_id, 0, "7", "kim", 1, "keyed")])
    assert "1 of 200 asked for are labelled" in client.get(f"/sites/{DIRTY}").text


def test_labels_that_were_asked_for_leave_the_audits_estimate_alone(client, console, mail):
    before = client.get("/sites").text
    send(client, "label")
    events = [LabelEvent(one.read_id, 0, "7", "kim", 1, "keyed") for one in requests_of(console)]
    add_events(mail.archive, events)
    assert client.get("/sites").text == before


def test_the_next_request_forgets_erased_reads(client, console, mail):
    send(client, "label")
    erased = requests_of(console)[0].read_id
    mail.archive.put(f"erased/{fingerprint(erased)}", b"", content_type="")
    send(client, "label", site=SITES[0])
    assert erased not in {one.read_id for one in requests_of(console)}
    assert len(requests_of(console)) == 199


NEWEST_FIRST = DAYS[::-1]


def draw(captured, seed=1, asked=frozenset(), site=SITES[0]):
    return label_requests.draw(captured, site, NEWEST_FIRST, asked=asked, seed=seed)


def test_a_draw_is_repeated_by_its_seed(captured):
    assert draw(captured).crops == draw(captured).crops
    assert draw(captured).crops != draw(captured, seed=2).crops


def test_the_newest_days_that_suffice_are_drawn_from(captured):
    assert draw(captured).days == NEWEST_FIRST[:2]


def test_the_inclusion_probability_is_that_of_every_crop(captured):
    """Over many draws each eligible crop is drawn about as often as its probability says."""
    num_draws = 300
    times: dict[object, int] = {}
    for seed in range(num_draws):
        sample = draw(captured, seed)
        for crop in sample.crops:
            times[crop] = times.get(crop, 0) + 1
    assert len(times) == sample.num_eligible
    expected = num_draws * sample.probability
    assert sum(times.values()) / len(times) == pytest.approx(expected)
    assert max(abs(one - expected) for one in times.values()) < 5 * expected**0.5


def test_a_marked_crop_that_nobody_has_keyed_yet_is_not_asked_for(console, mail, captured):
    day, spool = DAYS[-1], Spool(console.settings.capture.spool)
    records = [replace(made(SITES[0], day, number), site="Ghent") for number in (150, 151, 152)]
    records[1] = replace(records[1], audit_probability=0.2)
    for one in records:
        spool.append(one)
    spool.close()
    ship.ship_once(console.settings.capture.spool, mail.archive)
    sample = label_requests.draw(captured, "Ghent", [day], asked=frozenset(), seed=1)
    assert {read_id for read_id, _ in sample.crops} == {records[0].read_id, records[2].read_id}


def test_audit_marks_and_labelled_crops_are_not_asked_for(captured, mail):
    labelled = draw(captured).crops[0]
    add_events(mail.archive, [LabelEvent(*labelled, "7", "kim", 1, "keyed")])
    marked = set(captured.marked(DAYS)["read_id"])
    drawn = {crop for seed in range(20) for crop in draw(captured, seed).crops}
    assert labelled not in drawn
    assert not marked & {read_id for read_id, _ in drawn}


def test_where_nothing_is_left_nothing_is_drawn(captured):
    asked = frozenset()
    while (sample := draw(captured, asked=asked)) is not None:
        asked |= frozenset(sample.crops)
    assert len(asked) > 600


def forms(client):
    """What each form of the page sends, by its last word."""
    text = client.get(f"/sites/{DIRTY}").text
    found = re.findall(r'action="[^"]+/(hold|release|label)">(.*?)</form>', text, re.DOTALL)
    return {
        action: dict(re.findall(r'name="(\w+)" value="([^"]*)"', form)) for action, form in found
    }


def test_a_form_that_is_sent_twice_asks_for_labels_once(client, console):
    sent = forms(client)["label"]
    first, second = (client.post(f"/sites/{DIRTY}/label", data=sent) for _ in range(2))
    assert (first.status_code, second.status_code) == (200, 409)
    assert "has changed since this page was loaded" in second.text
    assert len(requests_of(console)) == 200


def test_a_form_of_a_page_that_was_left_open_releases_no_later_hold(client, console):
    send(client, "hold", reason="dust")
    old = forms(client)["release"]
    send(client, "release")
    send(client, "hold", reason="turned")
    assert client.post(f"/sites/{DIRTY}/release", data=old).status_code == 409
    assert holds.read_states(console)[DIRTY].status == "hold"
    assert client.post(f"/sites/{DIRTY}/release", data=forms(client)["release"]).status_code == 200
    assert holds.read_states(console)[DIRTY].status == "ok"
