"""`--network NAME`: any name in NETWORKS is fitted; any other is refused before any work."""

import argparse

import pytest
from tiny import TinyNetwork

from training import __main__ as command_line
from training import network, option_values


def options(name):
    return argparse.Namespace(network=name, seed=7, epochs=None, num_crops=None, warm_start=None)


def test_a_network_that_was_added_is_the_one_that_is_fitted(monkeypatch):
    monkeypatch.setitem(network.NETWORKS, "wide", TinyNetwork)
    config, _ = option_values.fit_configs(options("wide"))
    assert config.network == "wide"
    assert isinstance(network.build(config.network), TinyNetwork)


@pytest.mark.parametrize("name", network.NETWORKS)
def test_every_network_keeps_its_name(name):
    config, _ = option_values.fit_configs(options(name))
    assert config.network == name


def test_an_unknown_network_is_refused_with_the_known_names(capsys):
    assert command_line.main(["fit", "--network", "wider"]) == command_line.EXIT_ERROR
    assert "network 'wider' is not one of default, prototype" in capsys.readouterr().err
