import hashlib
import json
import os
import socket
import stat
import sys
import time
from pathlib import Path

import pytest

from serving import keys
from serving.config import Settings, load_settings
from serving.edge.key_ring import KeysError, load_keys, new_key, parse_keys

NOW_S = 1_800_000_000.0  # 2027-01-15


def entry(number=0, **changes):
    return {
        "site": "berlin-1",
        "sha256": hashlib.sha256(f"key {number}".encode()).hexdigest(),
        "scopes": ["predict"],
        "expires": None,
        **changes,
    }


def parse(*entries):
    return parse_keys(json.dumps({"keys": list(entries)}), NOW_S)


def test_a_key_is_found_by_itself_and_not_by_its_hash():
    ring = parse(entry())
    assert ring.find(b"key 0").site == "berlin-1"
    assert ring.find(entry()["sha256"].encode()) is None
    assert ring.find(b"key 1") is None
    assert ring.find(b"") is None


def test_a_cached_key_is_found_and_no_other():
    ring = parse(entry(), entry(site="leeds", sha256=hashlib.sha256(b"key 1").hexdigest()))
    for _ in range(3):
        assert ring.find(b"key 0").site == "berlin-1"
        assert ring.find(b"key 1").site == "leeds"
        assert ring.find(b"key 2") is None
        assert ring.find(b"key 0 ") is None


def test_a_ring_stores_no_key_and_does_not_cache_wrong_ones():
    ring = parse(entry())
    for number in range(50):
        ring.find(b"guess %d" % number)
    ring.find(b"key 0")
    assert ring.num_cached == 1
    assert b"key 0" not in repr(vars(ring)).encode()


def test_a_new_key_is_found_by_its_entry():
    key, made = new_key("leeds", ["predict", "label"], "2027-06-01T00:00:00Z")
    found = parse(made).find(key.encode())
    assert found.site == "leeds"
    assert found.scopes == {"predict", "label"}
    assert found.is_live(NOW_S)
    assert key not in json.dumps(made)


def test_two_new_keys_are_never_the_same():
    assert new_key("a", ["predict"], None)[0] != new_key("a", ["predict"], None)[0]


@pytest.mark.parametrize(
    ("expires", "is_live"),
    [
        (None, True),
        ("2027-01-16T00:00:00Z", True),
        ("2027-01-14T00:00:00Z", False),
        ("2027-01-15T10:00:00+02:00", True),  # 08:00 UTC; it is 08:00:00 now
    ],
)
def test_expiry_respects_the_time_zone(expires, is_live):
    now_s = NOW_S - 1
    assert parse(entry(expires=expires)).find(b"key 0").is_live(now_s) is is_live


def test_a_new_key_is_no_option_of_a_command_line(monkeypatch):
    drawn = iter(["-abc", "-def", "ghi"])
    monkeypatch.setattr("secrets.token_urlsafe", lambda _: next(drawn))
    assert new_key("a", ["predict"], None)[0] == "ghi"


def test_an_expired_key_is_still_an_entry():
    assert not parse(entry(expires="2020-01-01T00:00:00Z")).find(b"key 0").is_live(NOW_S)


def test_a_site_may_have_two_live_keys():
    ring = parse(entry(0), entry(1), entry(2, expires="2020-01-01T00:00:00Z"))
    assert ring.find(b"key 1").site == "berlin-1"


def test_a_third_live_key_of_a_site_is_refused():
    with pytest.raises(KeysError, match=r"'berlin-1' has 3 live keys; at most 2"):
        parse(entry(0), entry(1), entry(2))


def test_each_site_may_have_two_live_keys():
    parse(*(entry(number, site=f"site {number // 2}") for number in range(8)))


def test_the_same_key_twice_is_refused():
    with pytest.raises(KeysError, match="same sha256"):
        parse(entry(), entry(site="other"))


@pytest.mark.parametrize(
    "change",
    [
        {"scopes": ["root"]},
        {"scopes": "predict"},
        {"scopes": None},
        {"scopes": [["predict"]]},
        {"sha256": "ab"},
        {"sha256": "zz" * 32},
        {"sha256": None},
        {"expires": "soon"},
        {"expires": "2027-01-31"},
        {"expires": "2027-01-31T00:00:00"},
        {"expires": 7},
    ],
    ids=str,
)
def test_an_invalid_entry_is_refused(change):
    with pytest.raises(KeysError):
        parse(entry(**change))


@pytest.mark.parametrize("member", ["site", "sha256", "scopes"])
def test_an_entry_without_a_member_is_refused(member):
    incomplete = entry()
    del incomplete[member]
    with pytest.raises(KeysError, match=member):
        parse(incomplete)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "{}",
        "null",
        '{"keys": {}, "x": 1}x',
        '{"keys": 7}',
        '{"keys": [7]}',
        "[" * 100_000,
    ],
)
def test_an_invalid_key_file_is_refused(text):
    with pytest.raises(KeysError):
        parse_keys(text, NOW_S)


def test_an_error_message_does_not_repeat_a_key():
    """A user may paste the key in place of its hash."""
    with pytest.raises(KeysError) as caught:
        parse(entry(sha256="hunter2-the-key-itself"))
    assert "hunter2" not in str(caught.value)


def test_keys_are_loaded_from_the_file_that_the_settings_name(tmp_path):
    path = tmp_path / "keys.json"
    path.write_text(json.dumps({"keys": [entry()]}))
    assert load_keys(Settings(api_keys_file=path), NOW_S).find(b"key 0") is not None


def test_keys_are_loaded_from_the_json_in_the_settings():
    text = json.dumps({"keys": [entry()]})
    assert load_keys(Settings(api_keys_json=text), NOW_S).find(b"key 0") is not None


def test_settings_without_keys_load_none():
    assert load_keys(Settings(), NOW_S) is None


def test_a_missing_key_file_is_named_in_the_error(tmp_path):
    with pytest.raises(KeysError, match=r"nowhere\.json cannot be read"):
        load_keys(Settings(api_keys_file=tmp_path / "nowhere.json"), NOW_S)


def test_a_key_file_that_is_not_utf8_is_refused(tmp_path):
    path = tmp_path / "keys.json"
    path.write_bytes(b"\xff\xfe\x80")
    with pytest.raises(KeysError):
        load_keys(Settings(api_keys_file=path), NOW_S)


def fifo(path):
    os.mkfifo(path)
    return path


def linked_fifo(path):
    os.mkfifo(path.with_suffix(".fifo"))
    path.symlink_to(path.with_suffix(".fifo"))
    return path


def folder(path):
    path.mkdir()
    return path


def unix_socket(path):
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
    return path


def too_large(path):
    path.write_bytes(b" " * 1_048_577)
    return path


@pytest.mark.parametrize(
    "make",
    [fifo, linked_fifo, folder, unix_socket, too_large, lambda path: Path("/dev/zero")],
)
def test_a_key_file_that_is_no_regular_file_is_refused_and_not_waited_for(tmp_path, make):
    path = make(tmp_path / "keys.json")
    with pytest.raises(KeysError, match="cannot be read"):
        load_keys(Settings(api_keys_file=path), NOW_S)


def test_a_link_to_a_key_file_is_followed(tmp_path):
    (tmp_path / "real").write_text(json.dumps({"keys": [entry()]}))
    (tmp_path / "keys.json").symlink_to(tmp_path / "real")
    assert load_keys(Settings(api_keys_file=tmp_path / "keys.json"), NOW_S) is not None


def test_a_key_file_with_a_byte_order_mark_is_read(tmp_path):
    path = tmp_path / "keys.json"
    path.write_text(json.dumps({"keys": [entry()]}), encoding="utf-8-sig")
    assert load_keys(Settings(api_keys_file=path), NOW_S) is not None


@pytest.mark.parametrize(
    "changes",
    [
        {"expires": "10000-01-01T00:00:00Z"},
        {"scopes": []},
        {"scopes": [["predict"]]},
    ],
)
def test_an_entry_that_cannot_hold_is_refused(changes):
    with pytest.raises(KeysError):
        parse(entry(**changes))


@pytest.mark.parametrize(
    ("expires", "is_live"),
    [("0001-01-01T00:00:00+14:00", False), ("9999-12-31T23:59:59-14:00", True)],
)
def test_a_moment_at_the_ends_of_the_calendar_is_read(expires, is_live):
    assert parse(entry(expires=expires)).find(b"key 0").is_live(NOW_S) is is_live


def test_an_object_with_a_member_twice_is_refused():
    whole = json.dumps(entry())
    with pytest.raises(KeysError, match="twice"):
        parse_keys(f'{{"keys": [], "keys": [{whole}]}}', NOW_S)
    with pytest.raises(KeysError, match="twice"):
        parse_keys(f'{{"keys": [{whole[:-1]}, "scopes": ["admin"]}}]}}', NOW_S)


def test_the_keys_of_thousands_of_sites_are_counted_once_each():
    """A comparison of each key with each site would take 64 million steps."""
    entries = [entry(number, site=f"site-{number}") for number in range(8000)]
    started_s = time.thread_time()
    parse(*entries)
    assert time.thread_time() - started_s < 2.0


def run(monkeypatch, *args):
    monkeypatch.setattr(sys, "argv", ["serving.keys", *args])
    return keys.main()


def test_the_command_prints_a_key_once_and_its_entry(monkeypatch, capsys):
    assert run(monkeypatch, "new", "--site", "leeds", "--scopes", "predict,label") == 0
    shown, made = capsys.readouterr().out.splitlines()
    key = shown.removeprefix("key (shown once): ")
    ring = parse(json.loads(made.removeprefix("entry: ")))
    assert ring.find(key.encode()).scopes == {"predict", "label"}


def test_the_command_adds_to_a_file_that_only_its_owner_reads(monkeypatch, capsys, tmp_path):
    path = tmp_path / "keys.json"
    for site in ("leeds", "york"):
        assert run(monkeypatch, "new", "--site", site, "--file", str(path)) == 0
    shown = [line for line in capsys.readouterr().out.splitlines() if line.startswith("key")]
    ring = parse_keys(path.read_text(), NOW_S)
    sites = [ring.find(line.partition(": ")[2].encode()).site for line in shown]
    assert sites == ["leeds", "york"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_the_command_refuses_a_third_key_and_leaves_the_file_alone(monkeypatch, capsys, tmp_path):
    path = tmp_path / "keys.json"
    for _ in range(2):
        assert run(monkeypatch, "new", "--site", "leeds", "--file", str(path)) == 0
    before = path.read_bytes()
    assert run(monkeypatch, "new", "--site", "leeds", "--file", str(path)) == 2
    assert "at most 2" in capsys.readouterr().err
    assert path.read_bytes() == before


def test_the_command_refuses_an_unknown_scope(monkeypatch, capsys):
    assert run(monkeypatch, "new", "--site", "leeds", "--scopes", "root") == 2
    assert "choose from predict, label, review, admin" in capsys.readouterr().err


@pytest.mark.parametrize(
    "site", ["berlin-1", "Würzburg Süd", "köln/2 ost", "..", "x" * 250, "ü" * 41, "郵便局"]
)
def test_a_site_s_name_may_be_anything_that_the_archive_can_store(site):
    assert parse(entry(site=site)).find(b"key 0").site == site


@pytest.mark.parametrize(
    ("site", "why"),
    [
        ("", "not empty"),
        ("  ", "not empty"),
        (None, "is no name"),
        (7, "is no name"),
        ("a\nb", "control characters"),
        ("a\0", "control characters"),
        ("a\x85", "control characters"),
        ("a\u2028b", "control characters"),
        ("a\ud800", "half characters"),
        ("x" * 251, "251 bytes"),
        ("ü" * 42, "252 bytes"),
        ("x" * 5_000, "5000 bytes"),
    ],
)
def test_a_site_s_name_that_cannot_be_stored_is_refused_and_its_entry_named(site, why):
    with pytest.raises(KeysError, match=rf"entry 2: the site .*{why}"):
        parse(entry(), entry(1, site=site))


def test_a_new_key_is_not_made_for_a_site_that_cannot_be_stored(monkeypatch, tmp_path, capsys):
    path = tmp_path / "keys.json"
    arguments = ["keys", "new", "--site", "x" * 300, "--file", str(path)]
    monkeypatch.setattr(sys, "argv", arguments)
    assert keys.main() == 2
    assert "300 bytes" in capsys.readouterr().err
    assert not path.exists()


@pytest.mark.parametrize("content", ["{", "[]", '{"keys": 7}'])
def test_a_key_is_not_added_to_an_unfit_file(monkeypatch, tmp_path, capsys, content):
    path = tmp_path / "keys.json"
    path.write_text(content)
    assert run(monkeypatch, "new", "--site", "leeds", "--file", str(path)) == 2
    assert path.read_text() == content
    assert "format" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("API_KEYS_FILE", "/nowhere/keys.json"),
        ("API_KEYS_JSON", "[]"),
        ("KEY_STORE", "no-arn"),
    ],
)
def test_unfit_keys_are_told_with_their_setting(monkeypatch, name, value):
    monkeypatch.setenv(f"DIGITS_{name}", value)
    with pytest.raises(KeysError, match=f"^DIGITS_{name}: "):
        load_keys(load_settings(), now_s=0.0)
