"""Names as one segment of an address."""

from urllib.parse import unquote

import pytest

from pages.segment import from_segment, to_segment


@pytest.mark.parametrize("name", ["leeds", "Köln 1", "a/b", "..", ".", "%2F", "a%25", "x?#", "日"])
def test_a_name_comes_back_after_the_server_has_taken_one_layer_of_escapes_away(name):
    assert from_segment(unquote(to_segment(name))) == name


@pytest.mark.parametrize("name", ["a/b", "/", "a\\b", "../.."])
def test_no_slash_is_left_when_one_layer_of_escapes_is_taken_away(name):
    assert not set(unquote(to_segment(name))) & set("/\\")


@pytest.mark.parametrize("name", [".", ".."])
def test_no_browser_resolves_a_name_of_dots(name):
    assert "%2e" not in to_segment(name).lower()
    assert "." not in to_segment(name)


def test_plain_names_and_letters_of_any_script_stay_readable():
    assert to_segment("berlin-1") == "berlin-1"
    assert unquote(to_segment("Köln 2.1")) == "Köln 2.1"
