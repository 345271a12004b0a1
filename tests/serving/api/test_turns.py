"""Which bodies are parsed at once on the event loop, and which in their sender's turn."""

import pytest

from serving.api.turns import MAX_AT_ONCE_S, form_s, json_s


@pytest.mark.parametrize("num_parts", [1, 10])
def test_a_form_of_few_files_is_parsed_at_once(num_parts):
    assert form_s((b"\r\n--X" + b"d" * 400) * num_parts) <= MAX_AT_ONCE_S


def test_a_form_of_many_tiny_files_waits_for_its_turn():
    assert form_s((b"\r\n--X" + b"d" * 100) * 256) > MAX_AT_ONCE_S


def test_json_of_one_image_is_parsed_at_once():
    assert json_s(b"[" + b"0.12345678901," * 784 + b"0]") <= MAX_AT_ONCE_S


@pytest.mark.parametrize("filling", [b"0," * 30_000, b"[]," * 8_000, b"{}," * 8_000])
def test_json_that_takes_long_to_parse_waits_for_its_turn(filling):
    assert len(filling) < 65_536
    assert json_s(filling) > MAX_AT_ONCE_S
