"""A CSV of labels: taken as it is written, or refused line by line; never a traceback."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_records import make

from capture import ship
from capture.label_csv import Defaults, LabelFileError
from capture.label_csv import parse as parse_with
from capture.label_event import LabelEvent
from capture.labels import add_events, read_events, read_labels
from capture.spool import Spool
from capture.store import open_store
from monitoring.__main__ import main

HEADER = b"request_id,crop_index,label\n"
NOW = datetime(2026, 11, 27, tzinfo=UTC)


def parse(data: bytes):
    return parse_with(data, Defaults(who="ada", how="import", now=NOW))


def rows(data: bytes):
    return [(one.request_id, one.event.crop_index, int(one.event.label)) for one in parse(data)]


@pytest.mark.parametrize("text", ["00123", "NA", "null", "1e5", "nan", "True", "1.0", "0x1F", "-"])
def test_an_id_stays_as_it_is_written(text):
    assert rows(HEADER + f"{text},0,7\n".encode()) == [(text, 0, 7)]


@pytest.mark.parametrize(
    "data",
    [
        b"\xef\xbb\xbfrequest_id,crop_index,label\r\nabc,0,7\r\n",
        b"request_id;crop_index;label\r\nabc;0;7\r\n",
        b"request_id\tcrop_index\tlabel\nabc\t0\t7",
        b" Request_ID , crop_index ,LABEL\n abc , 0 , 7 \n",
        b"request_id,crop_index,label\rabc,0,7\r",
        b"\n\nlabel,crop_index,who,request_id\n7,0,me,abc\n",
        b"request_id,crop_index,label,,\nabc,0,7,,\n,,,,\n\n",
        b'"request_id","crop_index","label"\n"abc","0","7"\n',
        "request_id,crop_index,label\nabc,0,7\n".encode("utf-16"),
        HEADER + b"abc,0.0,7.0\n",
        HEADER + b"abc,00,07\n",
    ],
)
def test_what_is_certain_is_read(data):
    assert rows(data) == [("abc", 0, 7)]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is empty"),
        (b"\xef\xbb\xbf\r\n\r\n", "is empty"),
        (HEADER, "no labels"),
        (b"abc,0,7\n", "line 1: the header 'abc,0,7' has neither read_id nor request_id"),
        (b"request_id,label\nabc,7\n", "line 1: .* no crop_index"),
        (b"request_id,crop_index,label,label\nabc,0,7,7\n", "label twice"),
        (HEADER + b"abc,0,10\n", "line 2: label '10': write a digit"),
        (HEADER + b"abc,0,7\nabd,0,7.5\n", "line 3: label '7.5'"),
        (HEADER + b"abc,0,\n", "line 2: label ''"),
        (HEADER + b"abc,0,-1\n", "line 2: label '-1'"),
        (HEADER + "abc,0,\uff17\n".encode(), "line 2: label"),
        (HEADER + b"abc,,7\n", "line 2: crop_index ''"),
        (HEADER + b"abc,-1,7\n", "line 2: crop_index '-1'"),
        (HEADER + b"abc,3000000000,7\n", "line 2: crop_index"),
        (HEADER + b",0,7\n", "line 2: has no id"),
        (HEADER + b"abc,0\n", "line 2: has 2 cells; the header has 3"),
        (HEADER + b"abc,0,7,8\n", "line 2: has 4 cells"),
        (b"read_id,crop_index,label,who\na,0,7,x\x01\n", "line 2: who"),
        (b"read_id,crop_index,label,how\na,0,7,guess\n", "line 2: how 'guess': write one of"),
        (b"read_id,crop_index,label,when\na,0,7,now\n", "line 2: when 'now': write the moment"),
        (b"read_id,crop_index,label,when\na,0,7,2026-11-20T10:00:00\n", "its time zone"),
        (b"read_id,crop_index,label,when\na,0,7,2026-11-28T10:00:00Z\n", "set the clock"),
        (HEADER + b"a\0bc,0,7\n", "line 2: has a NUL"),
        (HEADER + b"a\x01bc,0,7\n", "line 2: request_id"),
        (HEADER + b"x" * 256 + b",0,7\n", "line 2: request_id"),
        (HEADER + b"b\xfcro,0,7\n", "line 2: byte 0xfc is not UTF-8"),
        (HEADER + b'"abc,0,7\n', "line 2: .*quote"),
        (b"PK\x03\x04" + bytes(30), "NUL"),
        (b"\xff\xfea", "UTF-8"),
    ],
)
def test_a_mistake_is_named_with_its_line(data, message):
    with pytest.raises(LabelFileError, match=message):
        parse(data)


def test_each_of_many_mistakes_is_named():
    with pytest.raises(LabelFileError) as raised:
        parse(HEADER + b"abc,0,x\n" * 30)
    lines = str(raised.value).splitlines()
    assert lines[0].startswith("line 2:")
    assert lines[-1] == "and 10 more"


@given(st.binary(max_size=200))
def test_any_bytes_are_labels_or_a_named_mistake(data):
    for prefix in (b"", HEADER):
        with contextlib.suppress(LabelFileError):
            assert parse(prefix + data)


@pytest.fixture
def archive(tmp_path):
    """Two reads with one request id, at two sites; and one of its own."""
    spool = Spool(tmp_path / "spool")
    for read_id, request_id, site in (
        ("read-1", "scanner-7", "leeds"),
        ("read-2", "scanner-7", "berlin"),
        ("read-3", "00123", "leeds"),
    ):
        spool.append(make(1, read_id=read_id, request_id=request_id, site=site))
    spool.close()
    store = open_store(str(tmp_path / "store"))
    ship.ship_once(tmp_path / "spool", store)
    return store


def label(tmp_path, text):
    path = tmp_path / "truth.csv"
    path.write_text(text)
    folders = [f"--{name}={tmp_path / name}" for name in ("spool", "store")]
    return main(["label", str(path), "--who", "ada", *folders])


def labelled(store):
    found = read_labels(store)
    return [(one.read_id, one.crop_index, int(one.label)) for one in found.itertuples()]


def test_labels_go_by_read_id_or_by_a_request_id_that_names_one_read(archive, tmp_path):
    text = "read_id,request_id,site,crop_index,label\nread-1,,,0,4\n,00123,,0,5\n"
    assert label(tmp_path, text + ",scanner-7,berlin,0,6\n") == 0
    assert labelled(archive) == [("read-1", 0, 4), ("read-2", 0, 6), ("read-3", 0, 5)]


def test_a_request_id_of_two_reads_is_refused_with_both_and_nothing_is_stored(
    archive, tmp_path, capsys
):
    text = "request_id,crop_index,label\n00123,0,5\nscanner-7,0,4\n"
    assert label(tmp_path, text) == 1
    said = capsys.readouterr().err
    assert "line 3: 'scanner-7' is the request_id of 2 reads; give a read_id" in said
    assert "read-1, site leeds" in said
    assert "read-2, site berlin" in said
    assert labelled(archive) == []


def test_a_site_without_such_a_read_is_refused(archive, tmp_path, capsys):
    assert label(tmp_path, "request_id,site,crop_index,label\n00123,berlin,0,5\n") == 1
    assert "names no read of site 'berlin'" in capsys.readouterr().err
    assert labelled(archive) == []


def test_two_names_of_one_crop_must_agree(archive, tmp_path, capsys):
    assert label(tmp_path, "read_id,request_id,crop_index,label\nread-3,,0,1\n,00123,0,2\n") == 1
    assert "line 3: label 2, but line 2 says 1" in capsys.readouterr().err
    assert labelled(archive) == []


def test_the_same_label_twice_in_a_file_is_one(archive, tmp_path):
    assert label(tmp_path, "read_id,crop_index,label\nread-1,0,5\nread-1,0,5\n") == 0
    assert len(read_events(archive)) == 1


def test_two_labels_of_one_person_in_a_file_without_times_are_refused(archive, tmp_path, capsys):
    assert label(tmp_path, "read_id,crop_index,label\nread-1,0,5\nread-1,0,6\n") == 1
    assert "line 3: label 6, but line 2 says 5" in capsys.readouterr().err
    assert labelled(archive) == []


def test_an_unknown_read_is_refused_by_line_and_nothing_of_the_file_is_stored(
    archive, tmp_path, capsys
):
    assert label(tmp_path, "read_id,crop_index,label\nread-1,0,7\nread-9,0,3\n") == 1
    assert "line 3: read_id 'read-9' is not known; check it" in capsys.readouterr().err
    assert labelled(archive) == []


def test_a_read_that_is_still_in_the_spool_is_known(archive, tmp_path):
    spool = Spool(tmp_path / "spool")
    spool.append(make(1, read_id="read-4"))
    assert label(tmp_path, "read_id,crop_index,label\nread-4,0,7\n") == 0
    spool.close()
    assert labelled(archive) == [("read-4", 0, 7)]


def test_a_file_that_is_read_twice_adds_nothing(archive, tmp_path, capsys):
    text = "read_id,crop_index,label\nread-1,0,7\n"
    assert label(tmp_path, text) == 0
    assert label(tmp_path, text) == 0
    assert "0 labels stored; 1 were known already" in capsys.readouterr().out
    assert len(read_events(archive)) == 1


def test_a_file_without_a_person_says_how_to_name_one(archive, tmp_path, capsys):
    path = tmp_path / "truth.csv"
    path.write_text("read_id,crop_index,label\nread-1,0,7\n")
    folders = [f"--{name}={tmp_path / name}" for name in ("spool", "store")]
    assert main(["label", str(path), *folders]) == 1
    assert "line 2: who '': write a column who, or --who NAME" in capsys.readouterr().err


def test_the_command_labels_lists_disputes_and_reads_that_are_not_captured(
    archive, tmp_path, capsys
):
    add_events(
        archive,
        [
            LabelEvent("read-1", 0, "4", "ada", 1, "keyed"),
            LabelEvent("read-1", 0, "9", "ben", 2, "keyed"),
            LabelEvent("read-9", 0, "3", "ada", 1, "keyed"),
        ],
    )
    assert main(["labels", "--store", str(tmp_path / "store")]) == 0
    said = capsys.readouterr().out
    assert "3 events; 1 crops settled, 1 disputed" in said
    assert "disputed: read-1 crop 0 (ada: 4, ben: 9); ask a third person" in said
    assert "no captured read: read-9" in said


@pytest.mark.parametrize("name", ["missing.csv", "folder"])
def test_a_path_that_cannot_be_read_is_an_error_and_no_traceback(tmp_path, capsys, name):
    (tmp_path / "folder").mkdir()
    assert main(["label", str(tmp_path / name), "--store", str(tmp_path / "store")]) == 1
    assert name in capsys.readouterr().err


def test_a_file_without_end_is_refused_with_the_limit(tmp_path, capsys):
    assert main(["label", "/dev/zero", "--store", str(tmp_path / "store")]) == 1
    assert "more than 32 MB, the most that is read; split it" in capsys.readouterr().err


@pytest.mark.parametrize("label", ["7.0", "7,0", "7,00", "07"])
def test_a_digit_as_a_spreadsheet_writes_it_is_that_digit(label):
    data = f"read_id;crop_index;label\nread-1;0,0;{label}\n".encode()
    (row,) = parse(data)
    assert (row.event.label, row.event.crop_index) == ("7", 0)


@pytest.mark.parametrize("label", ["7,5", "7.5", "1,000", "7,0,0", ",7", "\u0667"])
def test_what_is_no_whole_number_is_no_digit(label):
    data = f"read_id;crop_index;label\nread-1;0;{label}\n".encode()
    with pytest.raises(LabelFileError, match="line 2: label"):
        parse(data)


def erase(tmp_path, *arguments):
    folders = [f"--{name}={tmp_path / name}" for name in ("spool", "store", "reports")]
    return main(["erase", *arguments, *folders])


def find(tmp_path, given, capsys):
    capsys.readouterr()
    code = main(["find", given, *(f"--{name}={tmp_path / name}" for name in ("spool", "store"))])
    return code, [line.split(",")[0] for line in capsys.readouterr().out.splitlines()]


def test_a_request_id_of_two_reads_is_not_erased_without_all(archive, tmp_path, capsys):
    assert erase(tmp_path, "scanner-7") == 1
    assert "read-1, site leeds" in capsys.readouterr().err
    assert find(tmp_path, "scanner-7", capsys) == (0, ["read_id read-1", "read_id read-2"])
    assert erase(tmp_path, "scanner-7", "--all") == 0
    assert find(tmp_path, "scanner-7", capsys) == (1, [])
    assert find(tmp_path, "read-3", capsys) == (0, ["read_id read-3"])


def test_a_read_is_erased_by_its_read_id_or_its_only_request_id(archive, tmp_path, capsys):
    label(tmp_path, "read_id,crop_index,label\nread-2,0,4\nread-3,0,4\n")
    assert erase(tmp_path, "read-2") == 0
    assert find(tmp_path, "scanner-7", capsys) == (0, ["read_id read-1"])
    assert erase(tmp_path, "00123") == 0
    assert find(tmp_path, "read-3", capsys) == (1, [])
    assert labelled(archive) == []


def test_what_is_still_in_the_spool_is_found_and_erased_when_it_comes(archive, tmp_path, capsys):
    spool = Spool(tmp_path / "spool")
    for read_id in ("read-4", "read-5"):
        spool.append(make(1, read_id=read_id, request_id="late"))
    assert find(tmp_path, "late", capsys) == (0, ["read_id read-4", "read_id read-5"])
    assert erase(tmp_path, "read-4") == 0
    spool.close()
    ship.ship_once(tmp_path / "spool", archive)
    assert find(tmp_path, "late", capsys) == (0, ["read_id read-5"])


def test_a_file_of_separators_alone_is_a_named_mistake():
    with pytest.raises(LabelFileError, match="no line has any value"):
        parse(b";\n;;\n")


@pytest.fixture
def borrowed(archive, tmp_path):
    """A fourth read, whose caller sent the first one's read_id as its request id."""
    spool = Spool(tmp_path / "spool")
    spool.append(make(1, read_id="read-4", request_id="read-1", site="berlin"))
    spool.close()
    ship.ship_once(tmp_path / "spool", archive)
    return archive


def test_a_request_id_that_is_another_read_s_read_id_labels_its_own_read(borrowed, tmp_path):
    text = "read_id,request_id,crop_index,label\n,read-1,0,5\nread-1,,0,4\n"
    assert label(tmp_path, text) == 0
    assert labelled(borrowed) == [("read-1", 0, 4), ("read-4", 0, 5)]


def test_a_read_id_in_the_column_of_request_ids_is_refused(archive, tmp_path, capsys):
    assert label(tmp_path, "request_id,crop_index,label\nread-1,0,5\n") == 1
    assert "line 2: 'read-1' is a read_id and no request_id" in capsys.readouterr().err
    assert labelled(archive) == []


def test_erasing_all_of_a_request_id_spares_the_read_whose_read_id_it_is(
    borrowed, tmp_path, capsys
):
    assert erase(tmp_path, "read-1", "--all") == 0
    assert find(tmp_path, "read-1", capsys) == (0, ["read_id read-1"])
    assert find(tmp_path, "read-4", capsys) == (1, [])


def test_erasing_a_read_id_spares_the_read_that_has_it_as_request_id(borrowed, tmp_path, capsys):
    assert erase(tmp_path, "read-1") == 0
    assert find(tmp_path, "read-1", capsys) == (0, ["read_id read-4"])


@pytest.mark.parametrize("given", ["", "\udcff", "read-1\n"])
@pytest.mark.parametrize("command", ["find", "erase"])
def test_what_can_be_no_id_is_refused_without_a_traceback(archive, capsys, command, given):
    with pytest.raises(SystemExit) as stopped:
        main([command, given])
    assert stopped.value.code == 2
    assert "is no id" in capsys.readouterr().err
