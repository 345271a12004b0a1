import re

import pytest

from loadtest import command_line, servers
from loadtest.__main__ import COMMANDS, main
from loadtest.simulator import validate


def test_the_help_lists_every_command_and_an_unknown_one_is_refused(capsys):
    assert main(["--help"]) == 0
    listed = capsys.readouterr().out
    for name in COMMANDS:
        assert name in listed
    assert main(["nonsense"]) == 2
    assert "'nonsense' is not a command" in capsys.readouterr().err


def help_of(name, capsys):
    """The help as pairs: an option with its metavar, and its text ("" if it has none)."""
    with pytest.raises(SystemExit) as ended:
        main([name, "--help"])
    assert ended.value.code == 0
    text = re.sub(r"\n(options|positional arguments):", "", capsys.readouterr().out)
    entries = re.split(r"\n  (?=\S)", text)[1:]
    return [[*re.split(r"\s{2,}", entry.strip(), maxsplit=1), ""][:2] for entry in entries]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_has_a_help_text_and_shows_its_default(name, capsys):
    entries = help_of(name, capsys)
    assert entries
    for option, text in entries:
        assert text, option
        if option.startswith("--") and " " in option and option != "--host HOST":
            assert "default" in text, option


def test_an_unreachable_service_gives_no_verdict(tmp_path, capsys):
    host = f"http://127.0.0.1:{servers.free_port()}"
    arguments = ["run", "steady", "--open", "--minutes", "0.1", "--host", host]
    assert main([*arguments, "--out", str(tmp_path)]) == 1
    assert "cannot be reached" in capsys.readouterr().err


@pytest.mark.parametrize("host", ["localhost:3000", "127.0.0.1", "ftp://digits", "http://"])
def test_an_address_without_its_scheme_or_name_is_refused_before_any_load(host, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["run", "steady", "--host", host])
    assert ended.value.code == 2
    assert f"'{host}' is no address" in capsys.readouterr().err


def test_the_validation_prints_a_header_and_one_row_per_step():
    row = validate.Comparison(2, 40.0, 7.0, 7.5, 8.0, 8.5, 15.0, 20.0, 19.0, 0.94, 1.05)
    assert len(validate.text([row, row]).splitlines()) == 3


def test_a_table_aligns_its_columns_to_the_right():
    assert command_line.table([["a", "long"], ["100", "1"]]) == "  a  long\n100     1"
