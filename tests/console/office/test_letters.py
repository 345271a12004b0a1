"""The passport of a letter: found by either id, read again to the bit, gone when it is erased."""

import json
import shutil
from datetime import date

import made_letter
import numpy as np
import onnxruntime
import pytest
from made_letter import into_archive, into_spool, read_id, records

from capture.challenger_answer import ChallengerAnswer
from capture.compaction import expire
from capture.erasure import erase_from_archive
from capture.frames import add_head
from capture.kept_crops import keep_labelled
from capture.label_event import LabelEvent, encode
from capture.labels import add_events
from capture.spool import Spool
from console.office import letters_page
from console.office.office_pages import pages
from model.artifact import CHAMPION
from model.champion_files import sealed

DAY = "2024-11-20"


@pytest.fixture
def client(sign_in):
    return sign_in(pages(), "review")


def passport(client, number=0):
    return client.get("/letters/read", params={"read_id": read_id(number)})


def label(number=0, index=0, text="3", who="anna", when=1, how="keyed"):
    return LabelEvent(read_id(number), index, text, who, made_letter.TIME_US + when * 10**6, how)


@pytest.fixture
def letter(console):
    made = records(made_letter.crops())
    into_archive(console, made)
    return made


def test_a_letter_is_found_by_its_read_id(client, letter):
    answer = client.get("/letters", params={"id": f" {read_id()} "})
    assert answer.url.path == "/letters/read"
    assert answer.status_code == 200


def test_a_letter_is_found_by_the_request_id_of_its_scanner(client, console):
    into_archive(console, records(made_letter.crops(1), request_id="belt-7/000042"))
    answer = client.get("/letters", params={"id": "belt-7/000042"})
    assert answer.url.params["read_id"] == read_id()


def test_a_request_id_of_several_reads_lists_them(client, console):
    for number in (1, 2):
        into_archive(console, records(made_letter.crops(1), number=number, request_id="same"))
    answer = client.get("/letters", params={"id": "same"})
    assert answer.status_code == 200
    assert read_id(1) in answer.text
    assert read_id(2) in answer.text


def test_a_read_that_is_still_in_the_spool_is_found(client, console):
    into_spool(console.settings.capture.spool, records(made_letter.crops(2)))
    answer = passport(client)
    assert answer.text.count("same bits") == 2


def test_a_read_in_a_segment_that_is_being_written_is_found(client, console):
    spool = Spool(console.settings.capture.spool)
    try:
        spool.append(records(made_letter.crops(1))[0])
        assert passport(client).status_code == 200
    finally:
        spool.close()


def test_a_labelled_read_is_found_after_its_record_has_expired(client, console, letter):
    add_events(console.archive, [label()])
    keep_labelled(console.archive)
    expire(console.archive, keep_days=1, today=date(2026, 1, 1))
    assert not console.archive.find("records/")
    answer = passport(client)
    assert answer.status_code == 200
    assert answer.text.count("same bits") == 1


@pytest.mark.parametrize("path", ["/letters?id=nobody", f"/letters/read?read_id={read_id(9)}"])
def test_an_unknown_id_is_a_404_that_says_where_was_searched(client, console, path):
    answer = client.get(path)
    assert answer.status_code == 404
    assert console.archive.url in answer.text


@pytest.mark.parametrize("text", ["x" * 256, "a\nb", ""])
def test_an_id_that_cannot_be_one_is_refused(client, text):
    assert client.get("/letters/read", params={"read_id": text}).status_code == 400


def test_every_crop_of_a_batch_is_read_again_alone_with_the_same_bits(client, letter):
    assert len(letter) == 5
    assert passport(client).text.count("same bits") == 5


def test_a_blank_crop_is_read_again_as_blank(client, console):
    into_archive(console, records([made_letter.blank_png()]))
    answer = passport(client).text
    assert answer.count("same bits") == 1
    assert "the model saw nothing" in answer


def test_a_read_that_is_erased_while_its_page_is_made_is_not_shown(
    client, console, letter, monkeypatch
):
    read_crops = letters_page.read_crops

    def read_then_erase(*arguments):
        rows = read_crops(*arguments)
        erase_from_archive(console.archive, read_id())
        return rows

    monkeypatch.setattr(letters_page, "read_crops", read_then_erase)
    assert passport(client).status_code == 410


@pytest.mark.parametrize("name", ["confidence", "garbage"])
def test_another_last_bit_is_noticed(client, console, name):
    (made,) = records(made_letter.crops(1))
    setattr(made, name, float(np.nextafter(np.float32(getattr(made, name)), np.float32(0))))
    into_archive(console, [made])
    answer = passport(client).text
    assert "same answer, other bits" in answer
    assert ">same bits<" not in answer


def test_another_grey_level_of_the_framed_image_is_noticed(client, console):
    (made,) = records(made_letter.crops(1))
    made.image = made.image.copy()
    made.image[14, 14] ^= 1
    into_archive(console, [made])
    answer = passport(client).text
    assert "same answer, other bits" in answer
    assert "it is framed otherwise today" in answer


def test_another_digit_is_another_answer(client, console):
    (made,) = records(made_letter.crops(1))
    made.digit = (made.digit + 1) % 10
    into_archive(console, [made])
    assert "another answer" in passport(client).text


@pytest.mark.parametrize("kept", [{"keep_crops": False}, {"scale_from": 0}])
def test_where_the_crop_is_not_kept_whole_the_image_is_read(client, console, kept):
    into_archive(console, records(made_letter.crops(1), **kept))
    answer = passport(client).text
    assert "the 28x28 image, rounded to 256 grey levels" in answer
    assert "another answer" not in answer


def test_a_model_that_is_not_kept_is_said_to_be_missing(client, console):
    into_archive(console, records(made_letter.crops(1), model_version="3"))
    answer = passport(client)
    assert answer.status_code == 200
    assert "Version 3 is not the champion" in answer.text


def kept_version(console, version, mail):
    """Another version of the champion, in the model store."""
    for name in ("model.onnx", "golden.png"):
        console.models.put(f"{version}/{name}", (CHAMPION / name).read_bytes(), content_type="x")
    manifest = json.loads((CHAMPION / "manifest.json").read_text())
    manifest |= {"version": version, "mail": mail}
    console.models.put(
        f"{version}/manifest.json", json.dumps(sealed(manifest)).encode(), content_type="x"
    )


def test_an_older_model_is_taken_from_the_model_store(client, console):
    kept_version(console, "6", {"data_version": "2026-10@abc", "num_train": 3210})
    into_archive(console, records(made_letter.crops(2), model_version="6"))
    answer = passport(client).text
    assert answer.count("same bits") == 2
    assert "mail of data version 2026-10@abc (3,210 crops)" in answer


def test_a_damaged_model_of_the_store_is_no_500(client, console):
    kept_version(console, "6", None)
    console.models.put("6/model.onnx", b"damaged", content_type="x")
    into_archive(console, records(made_letter.crops(1), model_version="6"))
    answer = passport(client)
    assert answer.status_code == 200
    assert "Version 6 cannot be used" in answer.text


def test_a_version_cannot_reach_other_keys_of_the_model_store(client, console, tmp_path):
    shutil.copytree(CHAMPION, tmp_path / "elsewhere")
    into_archive(console, records(made_letter.crops(1), model_version="../elsewhere"))
    assert "has no model of that version" in " ".join(passport(client).text.split())


def test_a_read_of_a_site_on_hold_has_the_same_bits(client, console):
    made = records(made_letter.crops(1))
    made[0].accepted, made[0].rejected_because = False, "site_on_hold"
    into_archive(console, made)
    assert "same bits" in passport(client).text


def test_the_threshold_is_told_with_its_error_target(client, letter):
    assert "error target 1 in 1,000" in passport(client).text


def test_a_threshold_of_no_target_is_told_as_such(client, console):
    into_archive(console, records(made_letter.crops(1), threshold=0.5))
    assert "none of this model" in passport(client).text


def test_labels_are_told_with_the_one_that_counts_and_why(client, console, letter):
    events = [label(text="3"), label(text="8", who="bert"), label(text="8", who="cleo", when=9)]
    add_events(console.archive, events)
    answer = passport(client).text
    assert "8 counts" in answer
    assert "2 of 3 persons gave it" in answer
    assert all(name in answer for name in ("anna", "bert", "cleo"))


def test_a_dispute_asks_for_one_more_person(client, console, letter):
    add_events(console.archive, [label(text="3"), label(text="8", who="bert")])
    answer = passport(client).text
    assert "No label counts" in answer
    assert "one more person is needed" in answer


def test_a_label_that_is_still_in_the_spool_is_told(client, console, letter):
    spool = Spool(console.settings.capture.spool)
    spool.append_frames([add_head(encode(label(text="unreadable", who="dora")))])
    spool.close()
    assert "unreadable counts" in passport(client).text


def test_a_challengers_answer_and_the_audit_mark_are_told(client, console):
    answer = ChallengerAnswer("8", 4, 0.875, challenger_accepted=True)
    into_archive(console, records(made_letter.crops(1), challenger=answer, audit_probability=0.02))
    page = passport(client).text
    assert "version 8: 4 at 87.50%" in page
    assert "marked, probability 0.02" in page


def report(console, window, findings, *, enough=True):
    body = json.dumps({"enough": enough, "findings": findings})
    console.reports.put(f"{window}/report.json", body.encode(), content_type="x")


def finding(site, severity):
    return {"site": site, "severity": severity, "text": f"{site} is dirty"}


@pytest.mark.parametrize(
    ("window", "findings", "words"),
    [
        (DAY, [finding("leeds", 2), finding("hull", 1)], "leeds is dirty"),
        (DAY, [finding("hull", 2)], "nothing stands out"),
        ("2024-11-18..2024-11-24", [finding("leeds", 1)], "leeds is dirty"),
        ("2024-11-21", [finding("leeds", 1)], "no report covers the day"),
    ],
)
def test_the_drift_state_is_that_of_the_site_on_the_day(
    client, console, letter, window, findings, words
):
    report(console, window, findings)
    answer = passport(client).text
    assert words in answer
    assert "hull is dirty" not in answer


def test_an_erased_read_shows_no_content(client, console, letter):
    add_events(console.archive, [label(who="dora")])
    erase_from_archive(console.archive, read_id())
    for answer in (passport(client), client.get("/letters", params={"id": read_id()})):
        assert answer.status_code == 410
        assert "was erased" in answer.text
        assert "data:image" not in answer.text
        assert "dora" not in answer.text


def test_an_erased_read_that_is_still_in_the_spool_shows_no_content(client, console):
    into_spool(console.settings.capture.spool, records(made_letter.crops(1), request_id="abc"))
    erase_from_archive(console.archive, read_id())
    assert passport(client).status_code == 410
    assert client.get("/letters", params={"id": "abc"}).status_code == 404


def test_a_look_is_noted_with_the_name_of_who_looked(client, console, letter, sign_in):
    passport(client)
    log = sign_in(pages(), "review", who="olga").get("/log").text
    assert "view letter" in log
    assert read_id() in log


def test_a_search_that_shows_no_letter_is_not_noted(client, letter):
    client.get("/letters", params={"id": "nobody"})
    assert "view letter" not in client.get("/log").text


def test_a_keyer_may_not_see_passports(sign_in, letter):
    assert passport(sign_in(pages(), "label")).status_code == 403


def test_a_letter_of_many_crops_is_shown_in_parts(client, console):
    into_archive(console, records(made_letter.crops(5) * 5))
    first = passport(client).text
    assert first.count("same bits") == 12
    rest = client.get("/letters/read", params={"read_id": read_id(), "start": "24"}).text
    assert rest.count("same bits") == 1
    bad = client.get("/letters/read", params={"read_id": read_id(), "start": "25"})
    assert bad.status_code == 400


def test_a_read_of_version_0_1_has_no_read_id_and_is_found_by_its_request_id(client, console):
    made = records(made_letter.crops(1), read_id="", request_id="old/one two")
    made[0].read_id = "old/one two"
    into_archive(console, made)
    assert client.get("/letters", params={"id": "old/one two"}).text.count("same bits") == 1


def test_the_answer_is_that_of_onnxruntime_itself(letter):
    """The judge: the session of the champion's file, without the code under test."""
    session = onnxruntime.InferenceSession(str(CHAMPION / "model.onnx"))
    image = letter[0].image.astype(np.float32).reshape(1, 1, 28, 28) / 255
    logits = session.run(["logits"], {"image": image})[0]
    assert int(logits.argmax()) == letter[0].digit
