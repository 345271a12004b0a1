"""Records of other models' answers: in the spool, in the archive, and erased."""

from datetime import date

import pytest

from capture import answer_record, ship
from capture.answer_record import AnswerRecord
from capture.answer_rows import read_answers
from capture.archive import Window
from capture.compaction import expire
from capture.erasure import erase_from_archive
from capture.frames import add_head
from capture.segments import erase_from_spool, read_payloads, sealed_segments
from capture.spool import Spool

DAY = Window(date(2026, 11, 20), date(2026, 11, 20))
NOON_US = 1_795_176_000_000_000


def record(number=1, **changes):
    fields = {
        "read_id": f"read-{number}",
        "request_id": "theirs",
        "index": 0,
        "time_us": NOON_US,
        "site": "würzburg",
        "model_version": "2",
        "answer": "games",
        "confidence": 0.75,
        "features": {"num_words": 4.0},
        "total_ms": 1.5,
        "content_type": "application/json",
        "content": b'["\xc3\xa4", \xff raw]',
    }
    return AnswerRecord(**fields | changes)


def fill(folder, records):
    spool = Spool(folder)
    spool.append_frames([add_head(answer_record.encode(one)) for one in records])
    spool.close()


def test_a_record_is_read_back_as_it_was():
    assert answer_record.decode(answer_record.encode(record())) == record()


@pytest.mark.parametrize("cut", [1, 4, 5, 20])
def test_a_record_that_is_cut_short_is_no_record(cut):
    with pytest.raises(ValueError, match="no record"):
        answer_record.decode(answer_record.encode(record())[:cut])


def test_answers_become_rows_beside_the_records_of_digits(tmp_path, store, make_record):
    fill(tmp_path / "spool", [record(1), record(2, features={"length": 9.0}), record(2)])
    spool = Spool(tmp_path / "spool")
    spool.append(make_record(3))
    spool.close()
    done = ship.ship_once(tmp_path / "spool", store)
    assert (done.num_records, done.num_bad_records) == (4, 0)
    assert len(store.find("records/")) == 1
    rows = read_answers(store, DAY)
    assert rows["read_id"].tolist() == ["read-1", "read-2"]  # one that was shipped twice is one
    assert rows["content"][0] == record().content
    assert rows["feature_num_words"][0] == 4.0
    assert rows["feature_length"][1] == 9.0


def test_an_answer_that_no_folder_can_have_is_kept_aside_and_stops_no_other(tmp_path, store):
    fill(tmp_path, [record(1, site="x" * 300), record(2)])
    done = ship.ship_once(tmp_path, store)
    assert (done.num_records, done.num_bad_records) == (1, 1)
    (kept,) = tmp_path.glob("*.bad")
    (payload,) = read_payloads(kept)
    assert answer_record.decode(payload).read_id == "read-1"


def test_an_answer_is_erased_from_the_spool(tmp_path):
    fill(tmp_path, [record(1), record(2)])
    assert erase_from_spool(tmp_path, {"read-1"}) == 1
    (segment,) = sealed_segments(tmp_path)
    assert [answer_record.decode(one).read_id for one in read_payloads(segment)] == ["read-2"]


def test_an_erased_answer_is_gone_from_the_archive_and_does_not_come_back(tmp_path, store):
    fill(tmp_path, [record(1), record(2)])
    ship.ship_once(tmp_path, store)
    assert erase_from_archive(store, "read-1").num_rows == 1
    fill(tmp_path, [record(1)])  # of a segment that was being written meanwhile
    ship.ship_once(tmp_path, store)
    assert read_answers(store, DAY)["read_id"].tolist() == ["read-2"]


def test_answers_expire_as_records_do(tmp_path, store):
    fill(tmp_path, [record(1)])
    ship.ship_once(tmp_path, store)
    assert expire(store, keep_days=30, today=date(2026, 12, 20)) == 0
    assert expire(store, keep_days=30, today=date(2026, 12, 21)) == 1
    assert read_answers(store, DAY).empty
