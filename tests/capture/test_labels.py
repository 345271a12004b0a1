"""Label events in spool and archive: only added, counted once, never expired, erased by read."""

from __future__ import annotations

from datetime import UTC, date, datetime

import pytest
from made_records import make

from capture import ship
from capture.compaction import expire
from capture.erasure import erase_from_archive
from capture.frames import add_head
from capture.label_event import BadField, decode, encode, event_of
from capture.labels import add_events, compact_labels, read_events, read_labels
from capture.segments import erase_from_spool, read_spool
from capture.spool import Spool
from capture.store import StoreError, open_store

NOW = datetime(2026, 11, 27, 8, tzinfo=UTC)
FIELDS = {
    "read_id": "read-1",
    "crop_index": 0,
    "label": 7,
    "who": "ada",
    "when": "2026-11-27T08:00:00Z",
    "how": "keyed",
}


def event(number=0, **changes):
    fields = {"read_id": f"read-{number}", **changes}
    return event_of(FIELDS | fields, now=NOW)


def in_spool(folder, *events):
    """Write events, and a captured record beside them, to a finished segment."""
    spool = Spool(folder)
    spool.append(make(1))
    spool.append_frames([add_head(encode(one)) for one in events])
    spool.close()


def test_an_event_survives_its_bytes():
    assert decode(encode(event(source="leeds"))) == event(source="leeds")


def test_the_same_event_has_the_same_id_whatever_its_time_zone_and_type():
    again = event(label="7", crop_index="0", when="2026-11-27T09:00:00+01:00")
    assert again.event_id == event().event_id


@pytest.mark.parametrize("field", FIELDS)
def test_a_missing_field_is_named_with_its_remedy(field):
    with pytest.raises(BadField, match=f"^{field} ''"):
        event_of({name: value for name, value in FIELDS.items() if name != field}, now=NOW)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("label", 12),
        ("label", True),
        ("label", None),
        ("label", 7.5),
        ("crop_index", -1),
        ("crop_index", 2**31),
        ("who", "a\nb"),
        ("who", "x" * 256),
        ("who", 7),
        ("when", "2026-11-27T08:00:00"),
        ("when", "0001-01-01T00:00:00+23:00"),
        ("when", 1_795_000_000),
        ("how", "guessed"),
        ("read_id", ["read-1"]),
    ],
)
def test_a_wrong_value_is_refused_by_name(field, value):
    with pytest.raises(BadField) as raised:
        event_of(FIELDS | {field: value}, now=NOW)
    assert raised.value.field == field


def test_events_are_shipped_beside_captures_and_the_segment_is_deleted(tmp_path):
    in_spool(tmp_path / "spool", event(1), event(2))
    store = open_store(str(tmp_path / "store"))
    done = ship.ship_once(tmp_path / "spool", store)
    assert (done.num_records, done.num_labels, done.bad_bytes) == (1, 2, 0)
    assert sorted(read_labels(store)["read_id"]) == ["read-1", "read-2"]
    assert list((tmp_path / "spool").iterdir()) == []


def test_shipping_a_segment_again_counts_its_events_once(tmp_path):
    in_spool(tmp_path / "spool", event(1))
    (segment,) = (tmp_path / "spool").glob("*.done")
    data = segment.read_bytes()
    store = open_store(str(tmp_path / "store"))
    ship.ship_once(tmp_path / "spool", store)
    segment.write_bytes(data)
    ship.ship_once(tmp_path / "spool", store)
    assert len(read_events(store)) == 1


def test_events_stay_in_the_spool_while_the_store_refuses(tmp_path):
    class Full:
        def put(self, key, data, *, content_type):
            raise StoreError("no room")

    in_spool(tmp_path / "spool", event(1))
    with pytest.raises(StoreError):
        ship.ship_once(tmp_path / "spool", Full())
    assert len(list((tmp_path / "spool").glob("*.done"))) == 1


def test_bytes_that_are_no_event_are_set_aside_and_stop_no_other(tmp_path):
    spool = Spool(tmp_path / "spool")
    spool.append_frames([add_head(b'{"label": 7}'), add_head(encode(event(1)))])
    spool.close()
    store = open_store(str(tmp_path / "store"))
    assert ship.ship_once(tmp_path / "spool", store).num_labels == 1
    assert len(list((tmp_path / "spool").glob("*.bad"))) == 1


def test_events_are_no_captured_reads(tmp_path):
    in_spool(tmp_path / "spool", event(1))
    assert [one.read_id for one in read_spool(tmp_path / "spool")] == [make(1).read_id]


def test_an_erased_read_takes_its_events_out_of_the_spool(tmp_path):
    in_spool(tmp_path / "spool", event(1), event(2))
    assert erase_from_spool(tmp_path / "spool", {"read-1"}) == 1
    store = open_store(str(tmp_path / "store"))
    ship.ship_once(tmp_path / "spool", store)
    assert read_events(store)["read_id"].tolist() == ["read-2"]


def test_labels_do_not_expire_with_the_captures(store):
    add_events(store, [event(1)])
    expire(store, keep_days=1, today=date(2036, 1, 1))
    assert len(read_labels(store)) == 1


def test_an_erased_read_has_no_label_now_or_later(store):
    add_events(store, [event(1), event(2)])
    assert erase_from_archive(store, "read-1").num_rows == 1
    add_events(store, [event(1, label=3)])  # was on its way
    assert read_events(store)["read_id"].tolist() == ["read-2"]


def test_a_correction_leaves_the_first_event_in_the_archive(store):
    add_events(store, [event(1)])
    add_events(store, [event(1, label=9, when="2026-11-27T08:00:01Z")])
    assert sorted(read_events(store)["label"]) == ["7", "9"]
    assert read_labels(store)["label"].tolist() == ["9"]


def test_merging_files_keeps_every_event_once(store):
    for number in range(3):
        add_events(store, [event(number), event(0)], name=f"segment-{number}")
    before = read_events(store).sort_values("event_id", ignore_index=True)
    assert compact_labels(store) == 3
    assert len(store.find("label_events/")) == 1
    after = read_events(store).sort_values("event_id", ignore_index=True)
    assert after.equals(before)
    assert compact_labels(store) == 0


def test_version_0_1_meets_no_file_that_it_cannot_read(store):
    add_events(store, [event(1)])
    assert store.find("labels/") == []
