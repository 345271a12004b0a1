"""Commands about champions: shown first, run once, one at a time, never lost."""

import fcntl
import hashlib
import json
import re
import shlex
import sqlite3
import time
from contextlib import closing, contextmanager
from dataclasses import replace

import pytest
from action_world import ask, run, runs, wait_for
from made_candidate import FAILED, write_candidate
from starlette.testclient import TestClient

from console import database
from console.application import make_app
from console.sessions import SignedIn
from console.versions import action_commands, action_rows, action_runner, versions_pages
from serving.edge.key_ring import parse_keys


@pytest.fixture
def pages(tools):
    return versions_pages.pages(tools)


@pytest.fixture
def world(console, own_champion, tmp_path):
    """A champion 2, a kept version 1, and a candidate that passed."""
    manifest = json.loads((own_champion / "manifest.json").read_text()) | {"version": "2"}
    (own_champion / "manifest.json").write_text(json.dumps(manifest))
    kept = json.dumps(manifest | {"version": "1"}).encode()
    console.models.put("1/manifest.json", kept, content_type="application/json")
    object.__setattr__(console, "settings", replace(console.settings, champion=own_champion))
    return write_candidate(console.settings.work, own_champion)


def test_nothing_runs_before_the_command_was_shown_and_confirmed(sign_in, pages, world, fake):
    client = sign_in(pages)
    asked = ask(client)
    assert "it reads 4 as 9" in asked.text
    assert "Run it" in asked.text
    assert runs(fake) == []
    run(client, asked)
    wait_for(client, asked, "done")
    assert len(runs(fake)) == 1


@pytest.mark.parametrize(
    ("kind", "subject", "expected"),
    [
        ("promote", "train", ["-m", "training", "promote"]),
        ("rollback", "1", ["-m", "training", "rollback", "--to=1"]),
        (
            "adopt",
            "2026-11-02..2026-11-08",
            ["-m", "monitoring", "reference", "--from=2026-11-02..2026-11-08", "--adopt"],
        ),
    ],
)
def test_the_command_that_is_shown_is_the_one_that_runs(
    sign_in, pages, world, fake, kind, subject, expected
):
    client = sign_in(pages, who="anna o'neill")
    asked = ask(client, kind, subject, 'it\'s $HOME `id` "better" -- --to=9')
    shown = re.search(r'<pre id="command"[^>]*>(.*?)</pre>', asked.text, re.DOTALL).group(1)
    shown = shown.replace("&#39;", "'").replace("&#34;", '"').replace("&amp;", "&")
    run(client, asked)
    wait_for(client, asked, "done")
    [(arguments, who)] = runs(fake)
    assert arguments[: len(expected)] == expected
    assert who == "anna o'neill"
    variable, *words = shlex.split(shown)
    assert variable == "DIGITS_PROMOTED_BY=anna o'neill"
    assert words[2:] == arguments
    if kind != "adopt":
        assert arguments[-1] == '--why=it\'s $HOME `id` "better" -- --to=9'


@pytest.mark.parametrize(
    ("kind", "subject", "why", "status"),
    [
        ("rollback", "9", "why", 404),
        ("rollback", "../1", "why", 404),
        ("rollback", "2", "why", 409),
        ("promote", "../train", "why", 404),
        ("adopt", "--adopt", "why", 400),
        ("adopt", "2026-11-08..2026-11-02", "why", 400),
        ("adopt", "2999-01-01", "why", 400),
        ("shell", "1", "why", 400),
        ("rollback", "1", "", 400),
        ("rollback", "1", "two\nlines", 400),
        ("rollback", "1", "x" * 201, 400),
        ("rollback", "1", "a\x00b", 400),
    ],
)
def test_an_unfit_value_reaches_no_command(sign_in, pages, world, fake, kind, subject, why, status):
    assert ask(sign_in(pages), kind, subject, why).status_code == status
    assert runs(fake) == []


def test_a_candidate_that_the_gate_refused_is_not_promoted(sign_in, pages, world, console):
    write_candidate(console.settings.work, console.settings.champion, FAILED)
    answer = ask(sign_in(pages), "promote", "train")
    assert answer.status_code == 409
    assert "gate refused" in answer.text


def test_a_change_needs_the_scope_admin(sign_in, pages, world):
    client = sign_in(pages, "review")
    assert ask(client).status_code == 403
    text = client.get("/models").text
    assert "scope admin" in text
    assert "Show the command" not in text


def test_only_who_asked_may_confirm(sign_in, pages, world, fake):
    asked = ask(sign_in(pages, who="anna"))
    assert run(sign_in(pages, who="ben"), asked).status_code == 403
    assert runs(fake) == []


@pytest.fixture
def set_keys(console):
    """set_keys(key -> (site, scopes)) puts other keys in force."""

    def put(keys):
        entries = [
            {
                "site": site,
                "sha256": hashlib.sha256(key.encode()).hexdigest(),
                "scopes": scopes,
                "expires": None,
            }
            for key, (site, scopes) in keys.items()
        ]
        ring = parse_keys(json.dumps({"keys": entries}), time.time())
        object.__setattr__(console, "keys", lambda: ring)

    return put


def test_somebody_of_the_same_name_with_another_sites_key_may_not_confirm(
    sign_in, pages, world, fake, key_of, set_keys
):
    asked = ask(sign_in(pages, who="anna"))
    key_of["branch"] = "key of another site"
    set_keys({key_of["branch"]: ("branch", ["review", "admin"])})
    refused = run(sign_in(pages, "branch", who="anna"), asked)
    assert refused.status_code == 403
    assert "anna asked for this" in refused.text
    assert runs(fake) == []


def test_who_has_lost_the_scope_admin_since_may_not_confirm(
    sign_in, pages, world, fake, key_of, set_keys
):
    client = sign_in(pages, who="anna")
    asked = ask(client)
    set_keys({key_of["all"]: ("office", ["review"])})
    assert run(client, asked).status_code == 403
    assert runs(fake) == []


@pytest.mark.parametrize("moved_s", [3_700, -3_700])
def test_an_old_request_is_not_run_nor_one_of_a_clock_that_was_set_back(
    sign_in, pages, world, console, fake, monkeypatch, moved_s
):
    client = sign_in(pages)
    asked = ask(client)
    later = console.now_us() + moved_s * 1_000_000
    monkeypatch.setattr(type(console), "now_us", staticmethod(lambda: later))
    assert run(client, asked).status_code == 409
    assert runs(fake) == []


def test_a_champion_that_changed_since_makes_people_ask_again(sign_in, pages, world, console, fake):
    client = sign_in(pages)
    asked = ask(client)
    path = console.settings.champion / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"sha256": "0" * 64}))
    assert run(client, asked).status_code == 409
    assert runs(fake) == []


def test_a_second_click_runs_nothing_twice(sign_in, pages, world, fake):
    client = sign_in(pages)
    asked = ask(client)
    run(client, asked)
    run(client, asked)
    wait_for(client, asked, "done")
    assert run(client, asked).status_code == 200
    assert len(runs(fake)) == 1


def test_two_clicks_at_the_same_moment_run_it_once(sign_in, pages, world, console, tools, fake):
    client = sign_in(pages)
    asked = ask(client)
    command = action_commands.prepare(console, tools, "rollback", "1", "it reads 4 as 9")
    run(client, asked)
    wait_for(client, asked, "done")
    number = int(asked.url.path.rpartition("/")[2])
    person = SignedIn("anna", "office", frozenset(), "")
    # The second click has seen the state before the first one changed it.
    assert not action_runner.run(console, tools, number, command, person)
    assert len(runs(fake)) == 1


def test_a_failure_shows_exit_code_and_last_lines(sign_in, pages, world, fake):
    (fake / "code").write_text("2")
    client = sign_in(pages)
    asked = ask(client)
    run(client, asked)
    text = wait_for(client, asked, "failed")
    assert "Exit code 2" in text
    assert "said [1mthis" in text


def test_a_program_that_cannot_start_is_a_failure(sign_in, world, tools):
    client = sign_in(versions_pages.pages(replace(tools, python=("/no/such/python",))))
    asked = ask(client)
    run(client, asked)
    assert "cannot be started" in wait_for(client, asked, "failed")


def test_a_command_that_runs_too_long_is_stopped(sign_in, world, tools, fake):
    (fake / "wait").touch()
    client = sign_in(versions_pages.pages(replace(tools, time_limit_s=0.3)))
    asked = ask(client)
    run(client, asked)
    text = wait_for(client, asked, "stopped")
    assert "python -m training history" in text


def test_two_consoles_run_one_command_at_a_time(sign_in, pages, world, tools, fake):
    (fake / "wait").touch()
    other = fake / "other"  # a machine that shares only the database
    other.mkdir()
    first, second = sign_in(pages), sign_in(versions_pages.pages(replace(tools, lock_folder=other)))
    asked = ask(first)
    run(first, asked)
    wait_for(first, asked, "running")
    refused = run(second, ask(second))
    assert refused.status_code == 409
    assert "Another command runs" in refused.text
    assert "it runs now" in second.get("/models").text
    (fake / "wait").unlink()
    wait_for(first, asked, "done")
    assert run(second, ask(second)).status_code == 200


@contextmanager
def held(path):
    """What a process holds whose console was killed."""
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def test_a_process_that_outlived_its_console_keeps_others_out(
    sign_in, pages, world, tools, console
):
    client = sign_in(pages)
    with held(tools.lock(console.settings)):
        assert run(client, ask(client)).status_code == 409
    assert run(client, ask(client)).status_code == 200


@pytest.mark.parametrize("moved_s", [action_rows.UNSEEN_S + 1, -3600])
def test_what_a_killed_console_ran_is_unknown_and_blocks_nobody(
    sign_in, pages, world, console, monkeypatch, moved_s
):
    client = sign_in(pages)
    asked = ask(client)
    number = int(asked.url.path.rpartition("/")[2])
    with console.transaction() as database, database.begin():
        assert action_rows.begin(database, number, now_us=console.now_us())
    assert 'data-state="running"' in client.get(asked.url.path).text
    later = console.now_us() + int(moved_s * 1e6)  # back: the clock was wrong before
    monkeypatch.setattr(type(console), "now_us", staticmethod(lambda: later))
    text = client.get(asked.url.path).text
    assert 'data-state="unknown"' in text
    assert "python -m training history" in text
    again = ask(client)
    run(client, again)
    wait_for(client, again, "done")


def test_the_audit_log_has_who_why_command_and_exit_code(sign_in, pages, world, fake):
    (fake / "code").write_text("1")
    client = sign_in(pages, who="carla")
    asked = ask(client, why="too many 4s in Bonn")
    run(client, asked)
    wait_for(client, asked, "failed")
    text = client.get("/log").text
    for shown in ("carla", "too many 4s in Bonn", "--to=1", "exit code: 1"):
        assert shown in text


def test_the_end_of_a_command_is_noted_when_the_database_can_be_written_again(
    sign_in, pages, world, console, fake, monkeypatch, caplog
):
    monkeypatch.setattr(database, "BUSY_S", 0.05)
    console.database.dispose()
    object.__setattr__(console, "database", database.open_database(console.settings.database))
    (fake / "wait").touch()
    client = sign_in(pages)
    asked = ask(client)
    run(client, asked)
    other = sqlite3.connect(console.database.url.database, isolation_level=None)
    with closing(other):
        other.execute("BEGIN IMMEDIATE")
        (fake / "wait").unlink()
        give_up = time.monotonic() + 30
        while "is not in the database yet" not in caplog.text:
            assert time.monotonic() < give_up
            time.sleep(0.05)
    wait_for(client, asked, "done")
    assert "exit code: 0" in client.get("/log").text


def test_a_reload_shows_the_same_action(sign_in, pages, world, console):
    client = sign_in(pages)
    asked = ask(client)
    run(client, asked)
    wait_for(client, asked, "done")
    again = TestClient(make_app(console, pages), base_url="http://localhost")
    again.cookies = client.cookies
    assert 'data-state="done"' in again.get(asked.url.path).text


def test_without_trainings_packages_the_page_says_so_and_gives_the_command(sign_in, world, tools):
    client = sign_in(versions_pages.pages(replace(tools, packages=("no_such_package",))))
    text = client.get("/models").text
    assert "lacks no_such_package" in text
    assert "python -m training rollback --to=1" in text
    assert ask(client).status_code == 409


def test_a_champion_that_may_not_be_written_is_changed_elsewhere(
    sign_in, pages, world, console, tmp_path
):
    (tmp_path / "file").write_text("no folder can be made here")
    settings = replace(console.settings, champion=tmp_path / "file" / "champion")
    object.__setattr__(console, "settings", settings)
    text = sign_in(pages).get("/models").text
    assert "may not write to" in text
    assert "python -m training rollback" in text


def test_an_action_that_does_not_exist_is_a_404(sign_in, pages):
    client = sign_in(pages)
    assert client.get("/models/actions/99").status_code == 404
    assert client.post("/models/actions/99/run", data={"csrf": client.csrf}).status_code == 404
