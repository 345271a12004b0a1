"""The port that `python -m console --port` and `python -m monitoring serve --port` take."""

import argparse

import pytest

from contract.tcp_port import tcp_port


@pytest.mark.parametrize("text", ["0", "65536", "99999", "-1", "3000.5", "http", "", "²"])
def test_what_is_no_port_is_refused_with_its_value(text):
    with pytest.raises(argparse.ArgumentTypeError, match="is no port; give a number from 1"):
        tcp_port(text)


@pytest.mark.parametrize("text", ["1", "8070", "65535"])
def test_a_port_is_taken(text):
    assert tcp_port(text) == int(text)
