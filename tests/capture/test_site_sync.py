"""Tasks without a shared disk share the states of sites through the store."""

import pytest

from capture.site_states import Change, Incident, SiteStates
from capture.site_sync import FOLDER, KEY, sync
from capture.store import Folder

HOLD = Incident("hold", 20, 20, "turned", "no_digit", 60, 0.5, 0.1)


@pytest.fixture
def store(tmp_path):
    return Folder(tmp_path / "store")


@pytest.fixture
def tasks(tmp_path):
    """Two tasks' spools, each with a folder of states."""
    spools = [tmp_path / "one", tmp_path / "two"]
    for spool in spools:
        spool.mkdir()
        SiteStates(spool / FOLDER)
    return spools


def test_a_hold_reaches_the_other_task(tasks, store):
    SiteStates(tasks[0] / FOLDER).exchange([Change("a", "6", 0, (), HOLD)])
    for spool in tasks:
        sync(spool, store)
    assert [s.status for s in SiteStates(tasks[1] / FOLDER).exchange([])] == ["hold"]


def test_a_task_that_starts_gets_the_history_of_the_others(tasks, store):
    SiteStates(tasks[0] / FOLDER).exchange([Change("a", "6", 5_000, (0.1,), None)])
    for spool in tasks:
        sync(spool, store)
    assert SiteStates(tasks[1] / FOLDER).exchange([])[0].num_reads == 5_000


def test_a_write_that_is_lost_comes_back(tasks, store):
    SiteStates(tasks[0] / FOLDER).exchange([Change("a", "6", 0, (), HOLD)])
    sync(tasks[0], store)
    store.put(KEY, b"[]", content_type="application/json")
    sync(tasks[0], store)
    sync(tasks[1], store)
    assert [s.site for s in SiteStates(tasks[1] / FOLDER).exchange([])] == ["a"]


@pytest.mark.parametrize("damage", [b"{", b"null", b"[" * 100_000, b"[[1]]", b'[{"site": 1}]'])
def test_a_damaged_object_is_written_anew(tasks, store, damage):
    SiteStates(tasks[0] / FOLDER).exchange([Change("a", "6", 0, (), HOLD)])
    store.put(KEY, damage, content_type="application/json")
    sync(tasks[0], store)
    assert b"turned" in store.get(KEY)


def test_where_no_sites_are_watched_nothing_is_stored(tmp_path, store):
    (tmp_path / "plain").mkdir()
    sync(tmp_path / "plain", store)
    assert store.find("sites/") == []
