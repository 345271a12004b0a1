"""The keying API: what is leased to whom, and what becomes of labels."""

import time
from base64 import b64decode
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from threading import Semaphore

import pytest
from keyed_mail import Keyer, letter, picture, store
from sqlalchemy import select
from starlette.testclient import TestClient

from capture.erasure import erase_from_archive
from capture.follow import SpoolFollower
from capture.label_event import LabelEvent
from capture.spool import Spool, SpoolError
from console.application import make_app
from console.database import open_database
from console.keying import letter_store, quality
from console.keying.keying_pages import pages
from console.keying.letter_store import drop_letters, prune, writing
from console.keying.own_figures import own_figures
from console.keying.room import KeyingRoom
from console.tables import CropRow, LetterRow, SessionRow, VoteRow
from console.visit import Console
from serving.api.codes import load_postcodes

NOW_US = time.time_ns() // 1000
ALWAYS_FRAC = quality._ALWAYS_FRAC


@pytest.fixture
def room(console):
    made = KeyingRoom(console)
    yield made
    made.close()


@pytest.fixture
def keyer(sign_in, room):
    """keyer(who) -> a signed-in person."""
    return lambda who: Keyer(sign_in(pages(room), who=who))


@pytest.fixture(autouse=True)
def no_checks(monkeypatch):
    """Nobody's labels are checked by a second person."""
    monkeypatch.setattr(quality, "_ALWAYS_FRAC", 0.0)
    monkeypatch.setattr(quality, "PAYS_ABOVE", 1.0)


@pytest.fixture
def later(monkeypatch):
    """later(seconds) sets the console's clock forward."""

    def move(seconds):
        now = Console.now_us
        monkeypatch.setattr(
            Console, "now_us", staticmethod(lambda: now() + int(seconds * 1_000_000))
        )

    return move


def events(console):
    follower = SpoolFollower(console.settings.capture.spool)
    found = [one for some in follower.read_new() for one in some]
    assert all(isinstance(one, LabelEvent) for one in found)
    return found


def ids(given):
    return [one["read_id"] for one in given]


def test_a_letter_shows_what_the_machine_has_read_and_asks_for_the_rest(console, keyer):
    (read_id,) = store(console, letter("80?31"))
    (given,) = keyer("anna").letters()
    assert given["read_id"] == read_id
    assert [crop["digit"] for crop in given["crops"]] == ["8", "0", None, "3", "1"]


def test_a_label_goes_to_the_spool_as_every_label_does(console, keyer):
    store(console, letter("?"))
    anna = keyer("anna")
    (given,) = anna.letters()
    assert [one["status"] for one in anna.key(given, "7")] == ["stored"]
    (event,) = events(console)
    assert (event.read_id, event.crop_index, event.label) == (given["read_id"], 0, "7")
    assert (event.who, event.how, event.source) == ("anna", "keyed", "office")


def test_a_label_of_a_marked_crop_is_an_audit(console, keyer):
    store(console, letter("?", how="audit"))
    anna = keyer("anna")
    anna.key(anna.letters()[0], "7")
    assert [event.how for event in events(console)] == ["audit"]


def test_nothing_tells_an_audit_from_a_reject(console, keyer, room, tmp_path):
    (tmp_path / "codes").write_text("80331\n")
    room.codes = load_postcodes(tmp_path / "codes")
    store(console, letter("?????"), letter("?????", how="audit"))
    given = keyer("anna").letters()
    changing = ("read_id", "picture", "lease_until_us")

    def shape(one):
        crops = [{k: v for k, v in crop.items() if k not in changing} for crop in one["crops"]]
        return {k: v for k, v in one.items() if k not in changing} | {"crops": crops}

    assert shape(given[0]) == shape(given[1])


def test_two_digits_are_stored_as_no_digit_and_the_kind_is_kept(console, keyer):
    store(console, letter("?"))
    anna = keyer("anna")
    anna.key(anna.letters()[0], "two_digits")
    assert [event.label for event in events(console)] == ["not_a_digit"]
    with console.transaction() as database:
        assert database.scalars(select(VoteRow.kind)).all() == ["two_digits"]


def test_a_keyed_letter_is_given_to_nobody(console, keyer):
    store(console, letter("?"))
    anna = keyer("anna")
    anna.key(anna.letters()[0], "7")
    assert anna.letters() == keyer("ben").letters() == []


def test_two_people_never_have_one_letter(console, keyer):
    store(console, *(letter("?") for _ in range(10)))
    first, second = keyer("anna").letters(6), keyer("ben").letters(6)
    assert len(first) == 6
    assert len(second) == 4
    assert not {*ids(first)} & {*ids(second)}


def check_that_no_letter_is_given_twice(first, url, key, monkeypatch):
    """Six people fetch at once, three at each of two consoles."""
    monkeypatch.setattr(letter_store, "_WRITING", Semaphore(99))  # as in two processes
    store(first, *(letter("?") for _ in range(120)))
    second = replace(first, database=open_database(url))
    people = [
        Keyer(sign_in_at(one, key, f"p{number}-{place}"))
        for place, one in enumerate((first, second))
        for number in range(3)
    ]
    with ThreadPoolExecutor(6) as pool:
        given = list(pool.map(lambda one: one.letters(20), people))
    second.database.dispose()
    taken = [read_id for some in given for read_id in ids(some)]
    assert len(taken) == len(set(taken)) == 120


def sign_in_at(console, key, who):
    """A client of a console's own application."""
    client = TestClient(make_app(console, pages(KeyingRoom(console))), base_url="http://localhost")
    client.post("/sign-in", data={"who": who, "key": key})
    client.csrf = ""
    return client


def test_two_consoles_on_one_sqlite_file_never_give_one_letter_twice(console, key_of, monkeypatch):
    url = console.settings.database
    check_that_no_letter_is_given_twice(console, url, key_of["label"], monkeypatch)


@pytest.mark.slow
def test_two_consoles_on_one_postgresql_never_give_one_letter_twice(
    console, key_of, monkeypatch, postgres
):
    first = replace(console, database=open_database(postgres))
    check_that_no_letter_is_given_twice(first, postgres, key_of["label"], monkeypatch)
    first.database.dispose()


@pytest.mark.slow
def test_everything_is_alike_on_postgresql(console, key_of, postgres):
    first = replace(console, database=open_database(postgres))
    read_ids = store(first, letter("8?"), letter("?", deadline_us=NOW_US + 36_000_000_000))
    store(first, letter("8?", read_id=read_ids[0]))  # found again by another console
    app = make_app(first, pages(KeyingRoom(first)))
    client = TestClient(app, base_url="http://localhost")
    client.post("/sign-in", data={"who": "anna", "key": key_of["label"]})
    with first.transaction() as database:
        client.csrf = database.scalar(select(SessionRow.csrf))
    anna = Keyer(client)
    assert ids(anna.letters()) == [read_ids[1], read_ids[0]]
    assert [one["status"] for one in anna.key(anna.letters()[0], "7")] == ["stored"]
    assert anna.post("/keying/undo", {"read_id": read_ids[1]}).status_code == 200
    assert anna.label(read_ids[1], 0, "1")["status"] == "stored"
    assert anna.client.get("/keying/own").json()["num_today"] == 1
    with writing(first) as database:
        prune(database, NOW_US + 90_000_000_000, num_days=31, keep_days=90)
        drop_letters(database, read_ids[:1])
    with first.transaction() as database:
        assert database.scalars(select(LetterRow)).all() == []
    first.database.dispose()


def test_a_reload_gives_the_same_letters_and_another_session_others(console, keyer):
    store(console, *(letter("?") for _ in range(4)))
    anna = keyer("anna")
    first = ids(anna.letters(2))
    assert ids(anna.letters(2)) == first
    assert not {*ids(keyer("anna").letters(2))} & {*first}


def test_a_lease_ends_after_a_minute(console, keyer, later):
    (read_id,) = store(console, letter("?"))
    keyer("anna").letters()
    later(61)
    assert ids(keyer("ben").letters()) == [read_id]


@pytest.mark.parametrize("ahead_s", [300, 3 * 86_400])
def test_a_lease_of_a_clock_that_was_ahead_ends_when_it_is_set_back(console, keyer, later, ahead_s):
    read_ids = store(console, letter("?"))
    later(ahead_s)
    anna = keyer("anna")
    assert ids(anna.letters()) == read_ids
    later(-ahead_s)
    assert keyer("carla").client.get("/keying/letters?num=1").json()["letters"]
    later(61)
    assert ids(keyer("ben").letters()) == read_ids


def test_a_prolonged_lease_stays(console, keyer, later):
    (read_id,) = store(console, letter("?"))
    anna = keyer("anna")
    anna.letters()
    later(50)
    answer = anna.post("/keying/leases", {"read_ids": [read_id, "x"], "action": "prolong"}).json()
    assert list(answer["until_us"]) == [read_id]
    later(20)
    assert keyer("ben").letters() == []


def test_a_released_letter_is_anothers_at_once(console, keyer):
    (read_id,) = store(console, letter("?"))
    anna = keyer("anna")
    anna.letters()
    anna.post("/keying/leases", {"read_ids": [read_id], "action": "release"})
    assert ids(keyer("ben").letters()) == [read_id]


@pytest.mark.parametrize("action", ["prolong", "release"])
def test_nobody_prolongs_or_releases_another_persons_lease(console, keyer, later, action):
    (read_id,) = store(console, letter("?"))
    anna, ben = keyer("anna"), keyer("ben")
    anna.letters()
    later(50)
    answer = ben.post("/keying/leases", {"read_ids": [read_id], "action": action}).json()
    assert answer["until_us"] == {}
    assert ben.letters() == []
    later(11)
    assert ids(ben.letters()) == [read_id]


def test_a_label_of_a_letter_that_has_passed_on_is_refused(console, keyer, later):
    (read_id,) = store(console, letter("?"))
    anna = keyer("anna")
    anna.letters()
    later(61)
    keyer("ben").letters()
    refused = anna.label(read_id, 0, "7")
    assert (refused["status"], refused["reason"]) == (
        "refused", "the lease has passed to somebody else",
    )  # fmt: skip
    assert events(console) == []


def test_a_label_after_the_lease_counts_where_nobody_else_has_the_letter(console, keyer, later):
    (read_id,) = store(console, letter("?"))
    anna = keyer("anna")
    anna.letters()
    later(61)
    assert anna.label(read_id, 0, "7")["status"] == "stored"


def test_letters_come_first_that_can_still_be_saved_soonest_first(console, keyer):
    now_us, second = time.time_ns() // 1000, 1_000_000
    soon = letter("?", time_us=now_us, deadline_us=now_us + 600 * second)
    sooner = letter("?", time_us=now_us, deadline_us=now_us + 500 * second)
    late = letter("?", time_us=now_us - 90 * second, deadline_us=now_us - 80 * second)
    never = letter("?", time_us=now_us - 100 * second)
    new = letter("?", time_us=now_us)
    store(console, new, never, late, soon, sooner)
    in_order = [one.read_id for one in (sooner, soon, never, late, new)]
    assert ids(keyer("anna").letters()) == in_order


def test_a_label_that_is_sent_again_is_stored_once(console, keyer):
    (read_id,) = store(console, letter("?"))
    anna = keyer("anna")
    anna.letters()
    for _ in range(2):
        assert anna.label(read_id, 0, "7", NOW_US)["status"] == "stored"
    assert len(events(console)) == 1


def test_a_later_label_of_the_same_person_is_a_correction(console, keyer):
    (read_id,) = store(console, letter("?"))
    anna = keyer("anna")
    anna.letters()
    anna.label(read_id, 0, "7")
    assert anna.label(read_id, 0, "1")["status"] == "stored"
    with console.transaction() as database:
        assert database.scalars(select(CropRow.label)).all() == ["1"]


def test_undo_gives_a_letter_back_and_its_next_label_counts(console, keyer):
    (read_id,) = store(console, letter("8?"))
    anna = keyer("anna")
    anna.key(anna.letters()[0], "7")
    answer = anna.post("/keying/undo", {"read_id": read_id})
    given = answer.json()["letter"]
    assert [crop["digit"] for crop in given["crops"]] == ["8", None]
    assert keyer("ben").letters() == []
    anna.key(given, "1")
    with console.transaction() as database:
        assert [crop.label for crop in database.scalars(select(CropRow))] == [None, "1"]


def test_only_ones_own_last_20_letters_can_be_undone(console, keyer):
    read_ids = store(console, *(letter("?", time_us=NOW_US + n) for n in range(21)))
    anna = keyer("anna")
    for _ in range(2):
        for given in anna.letters(20):
            anna.key(given, "7")
    assert keyer("ben").post("/keying/undo", {"read_id": read_ids[-1]}).status_code == 409
    assert anna.post("/keying/undo", {"read_id": read_ids[0]}).status_code == 409
    assert anna.post("/keying/undo", {"read_id": read_ids[1]}).status_code == 200


def test_nothing_is_acknowledged_that_is_not_on_disk(console, keyer, room, monkeypatch):
    (read_id,) = store(console, letter("?"))
    anna = keyer("anna")
    anna.letters()

    def fail(_spool, _frames):
        raise SpoolError("the disk is full")

    monkeypatch.setattr(Spool, "append_frames", fail)
    row = {"read_id": read_id, "crop_index": 0, "label": "7", "when_us": NOW_US}
    answer = anna.post("/keying/labels", {"labels": [row]})
    assert answer.status_code == 503
    with console.transaction() as database:
        assert database.scalars(select(VoteRow)).all() == []


@pytest.mark.parametrize(
    ("change", "shown"),
    [
        ({"label": "11"}, "'11'"),
        ({"label": 7}, "'7'"),
        ({"crop_index": -1}, "'-1'"),
        ({"crop_index": True}, "'True'"),
        ({"when_us": NOW_US + 3_600_000_000}, "set the clock"),
        ({"when_us": "now"}, "'now'"),
        ({"read_id": ""}, "read_id ''"),
        ({"read_id": None}, "'None'"),
    ],
)
def test_a_label_that_cannot_be_one_is_refused_with_its_value(keyer, change, shown):
    row = {"read_id": "x", "crop_index": 0, "label": "7", "when_us": NOW_US} | change
    answer = keyer("anna").post("/keying/labels", {"labels": [row]})
    assert answer.status_code == 400
    assert shown in answer.json()["detail"]


@pytest.mark.parametrize("labels", [None, [], [{}] * 1025, ["x"], "x"])
def test_a_body_without_labels_is_refused(keyer, labels):
    assert keyer("anna").post("/keying/labels", {"labels": labels}).status_code == 400


@pytest.mark.parametrize("num", ["0", "21", "-1", "x"])
def test_a_number_of_letters_out_of_range_is_refused(keyer, num):
    assert keyer("anna").client.get(f"/keying/letters?num={num}").status_code == 400


@pytest.mark.parametrize(
    "body",
    [
        {"read_ids": "x", "action": "prolong"},
        {"read_ids": [], "kept": [1], "action": "prolong"},
        {"read_ids": [], "kept": ["x"] * 101, "action": "prolong"},
        {"read_ids": [], "action": "take"},
        {},
    ],
)
def test_a_lease_call_that_is_malformed_is_refused(keyer, body):
    assert keyer("anna").post("/keying/leases", body).status_code == 400


def test_nobody_labels_what_was_not_given_or_is_not_asked(console, keyer):
    (read_id,) = store(console, letter("8?"))
    anna = keyer("anna")
    assert "not given" in anna.label(read_id, 1, "7")["reason"]
    anna.letters()
    assert "nobody is asked" in anna.label(read_id, 0, "7")["reason"]
    assert "no such letter" in anna.label("unknown", 0, "7")["reason"]
    assert events(console) == []


def test_a_letter_that_the_page_has_is_not_sent_again(console, keyer):
    read_ids = store(console, *(letter("?") for _ in range(3)))
    anna = keyer("anna")
    assert ids(anna.letters(2)) == read_ids[:2]
    answer = anna.client.get(f"/keying/letters?num=3&has={','.join(read_ids[:2])}")
    assert ids(answer.json()["letters"]) == read_ids[2:]


def test_a_letter_brings_its_pictures_until_its_read_is_erased(console, keyer):
    (read_id,) = store(console, letter("?"))
    anna = keyer("anna")
    kind, _, text = anna.letters()[0]["crops"][0]["picture"].partition(",")
    assert (kind, b64decode(text)) == ("data:image/png;base64", picture())
    erase_from_archive(console.archive, read_id)
    assert anna.letters() == []
    with console.transaction() as database:
        assert database.get(LetterRow, read_id) is None


def test_the_page_is_told_which_of_its_letters_are_erased(console, keyer):
    first, second, third = (store(console, letter("?"))[0] for _ in range(3))
    anna = keyer("anna")
    anna.letters()
    anna.label(first, 0, "7")
    for read_id in (first, second):
        erase_from_archive(console.archive, read_id)
    body = {"read_ids": [second, third], "kept": [first], "action": "prolong"}
    answer = anna.post("/keying/leases", body).json()
    assert answer["erased"] == [second, first]
    assert list(answer["until_us"]) == [third]
    with console.transaction() as database:
        assert list(database.scalars(select(LetterRow.read_id))) == [third]
        assert not database.scalars(select(VoteRow)).all()


def test_a_letter_that_is_kept_for_undo_alone_is_not_prolonged(console, keyer, later):
    (read_id,) = store(console, letter("?"))
    anna = keyer("anna")
    anna.letters()
    later(50)
    body = {"read_ids": [], "kept": [read_id], "action": "prolong"}
    assert anna.post("/keying/leases", body).json() == {"until_us": {}, "erased": []}
    later(11)
    assert ids(keyer("ben").letters()) == [read_id]


def test_the_directory_says_which_codes_are_open(console, keyer, room, tmp_path):
    (tmp_path / "codes").write_text("80331\n80431\n80335\n10331\n")
    room.codes = load_postcodes(tmp_path / "codes")
    store(console, letter("80?31"), letter("8?"), letter("99?99"))
    assert [one["codes"] for one in keyer("anna").letters()] == [["80331", "80431"], None, None]


def test_the_directory_answers_for_nobody_who_is_asked_for_an_audit(console, keyer, room, tmp_path):
    (tmp_path / "codes").write_text("80331\n80431\n")
    room.codes = load_postcodes(tmp_path / "codes")
    store(console, letter("80?31", how="audit"))
    assert [one["codes"] for one in keyer("anna").letters()] == [None]


def test_two_who_disagree_need_a_third_and_nobody_is_asked_twice(console, keyer):
    (read_id,) = store(console, letter("?"))
    people = [keyer(who) for who in ("anna", "ben", "carla")]
    with console.transaction() as database, database.begin():
        database.get(CropRow, (read_id, 0)).num_wanted = 2
    for person, label in zip(people, ["7", "1", "7"], strict=True):
        (given,) = person.letters()
        person.key(given, label)
        assert person.letters() == []
    with console.transaction() as database:
        assert database.get(CropRow, (read_id, 0)).label == "7"
        agreed = {one.who: one.is_agreed for one in database.scalars(select(VoteRow))}
    assert agreed == {"anna": True, "ben": False, "carla": True}
    own = people[1].client.get("/keying/own").json()
    assert (own["num_today"], own["num_checked"], own["num_agreed"]) == (1, 1, 0)


def num_checked(console, num_labels):
    """How many of a person's labels a second person is asked about."""
    with console.transaction() as database:
        opinions = quality.SecondOpinions(database, {"anna"})
        return sum(opinions.needs_second("anna", f"r{number}", 0) for number in range(num_labels))


def test_of_everybody_one_label_in_fifty_is_checked(console, monkeypatch):
    monkeypatch.setattr(quality, "_ALWAYS_FRAC", ALWAYS_FRAC)
    monkeypatch.setattr(quality, "_MAX_CHECKING", 10_000)
    assert 0.015 < num_checked(console, 8_000) / 8_000 < 0.025


def test_at_most_twenty_labels_of_a_person_wait_for_a_check(console, monkeypatch):
    monkeypatch.setattr(quality, "PAYS_ABOVE", 0.0)
    assert num_checked(console, 50) == 20


def test_a_letter_that_is_erased_since_it_was_keyed_is_not_given_back(console, keyer):
    (read_id,) = store(console, letter("?"))
    anna = keyer("anna")
    anna.key(anna.letters()[0], "7")
    erase_from_archive(console.archive, read_id)
    answer = anna.post("/keying/undo", {"read_id": read_id})
    assert answer.status_code == 409
    assert "erased" in answer.json()["detail"]


def test_a_letter_that_somebody_else_has_now_is_not_given_back(console, keyer):
    (read_id,) = store(console, letter("?"))
    anna, ben = keyer("anna"), keyer("ben")
    with console.transaction() as database, database.begin():
        database.get(CropRow, (read_id, 0)).num_wanted = 2
    anna.key(anna.letters()[0], "7")
    assert ids(ben.letters()) == [read_id]
    answer = anna.post("/keying/undo", {"read_id": read_id})
    assert answer.status_code == 409
    assert "Somebody else has this letter" in answer.json()["detail"]
    assert ben.label(read_id, 0, "7")["status"] == "stored"


def test_a_speed_is_told_of_ten_labels_and_leaves_breaks_out(console):
    now_us = 20 * 86_400_000_000 + 40_000_000_000  # of a day, not near midnight

    def add(times_us):
        with console.transaction() as database, database.begin():
            database.add_all(
                VoteRow(
                    read_id=f"r{at}", crop_index=0, who="anna", label="7", kind="7", when_us=at,
                    event_id=str(at), is_undone=False, is_checking=False, is_agreed=None,
                )
                for at in times_us
            )  # fmt: skip

    def speed():
        with console.transaction() as database:
            return own_figures(database, "anna", now_us).keys_per_hour

    began_us = now_us - 10_000_000_000
    add(began_us + n * 1_000_000 for n in range(9))
    assert speed() is None
    add([began_us + 9_000_000])
    assert speed() == 3600
    add([now_us - 1_000_000_000])  # after a break
    assert speed() == 3600


def test_somebody_of_whom_nothing_is_known_is_checked_until_that_costs_more(
    console, keyer, monkeypatch
):
    monkeypatch.setattr(quality, "PAYS_ABOVE", 0.04)  # 1 of 25
    anna, ben = keyer("anna"), keyer("ben")
    num_second = 0
    for _ in range(8):
        store(console, letter("?"))
        anna.key(anna.letters()[0], "7")
        for given in ben.letters():
            ben.key(given, "7")
            num_second += 1
    assert num_second == 5  # then anna's chance to be wrong is 1 of 25


def test_a_person_who_keys_alone_leaves_few_letters_to_check(console, keyer, monkeypatch):
    monkeypatch.setattr(quality, "PAYS_ABOVE", 0.01)
    monkeypatch.setattr(quality, "_MAX_CHECKING", 3)
    store(console, *(letter("?") for _ in range(6)))
    anna = keyer("anna")
    for given in anna.letters():
        anna.key(given, "7")
    assert len(keyer("ben").letters()) == 3
