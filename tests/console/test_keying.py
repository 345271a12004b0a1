"""The keying API: what is leased to whom, and what becomes of labels."""

import pytest
from keyed_mail import Keyer, letter, store

from console.keying.keying_pages import pages
from console.keying.room import KeyingRoom


@pytest.fixture
def room(console):
    made = KeyingRoom(console)
    yield made
    made.close()


@pytest.fixture
def keyer(sign_in, room):
    """keyer(who) -> a signed-in person."""
    return lambda who: Keyer(sign_in(pages(room), who=who))


def test_a_letter_shows_what_the_machine_has_read_and_asks_for_the_rest(console, keyer):
    (read_id,) = store(console, letter("80?31"))
    (given,) = keyer("anna").letters()
    assert given["read_id"] == read_id
    assert [crop["digit"] for crop in given["crops"]] == ["8", "0", None, "3", "1"]


def test_a_label_is_stored(console, keyer):
    store(console, letter("?"))
    anna = keyer("anna")
    (given,) = anna.letters()
    assert [one["status"] for one in anna.key(given, "7")] == ["stored"]


def test_two_people_never_have_one_letter(console, keyer):
    store(console, *(letter("?") for _ in range(10)))
    first, second = keyer("anna").letters(6), keyer("ben").letters(6)
    assert len(first) == 6
    assert len(second) == 4
