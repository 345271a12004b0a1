"""One table makes encoder, decoder, builder and schema: a new field is one row."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from types import SimpleNamespace

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from plain_codec import encode_plainly

from capture.challenger_answer import NO_ANSWER
from capture.codec import make_builder, make_decoder, make_encoder
from capture.fields import Kind, captured, version_of
from capture.parquet_schema import SCHEMA, schema_of
from capture.record import CaptureRecord, StageTimes, build, encode
from capture.rows import to_table
from model.decision import Decision
from model.framed import Framed


@dataclass(slots=True, eq=False, kw_only=True)
class WithSkew(CaptureRecord):
    """The record with one row more."""

    skew_deg: float = field(
        default=0.0, metadata=captured(Kind.RATIO, "angle of the crop", of="framed", since=9)
    )


NEW_ROWS = {
    "flag": (Kind.FLAG, True, "bool"),
    "digit": (Kind.DIGIT, 7, "int8"),
    "no_digit": (Kind.DIGIT, None, "int8"),
    "count": (Kind.COUNT, 40_000, "int32"),
    "index": (Kind.INDEX, 4_000_000_000 // 4, "int32"),
    "score": (Kind.SCORE, -2.5, "float"),
    "no_time": (Kind.OPTIONAL_TIME, None, "timestamp[us, tz=UTC]"),
    "text": (Kind.TEXT, "Köln", "string"),
    "no_text": (Kind.OPTIONAL_TEXT, None, "string"),
}


def as_class(record, record_class, **more):
    """The same values in another class."""
    names = [one.name for one in fields(CaptureRecord)]
    return record_class(**{name: getattr(record, name) for name in names}, **more)


def test_a_new_field_is_encoded_decoded_and_a_column(make_record):
    record = as_class(make_record(3), WithSkew, skew_deg=1.5)
    encoded = make_encoder(WithSkew)(record)
    assert encoded[0] == version_of(WithSkew) == 9
    decoded = make_decoder(WithSkew)(encoded)
    assert decoded.skew_deg == 1.5
    assert make_encoder(WithSkew)(decoded) == encoded
    table = to_table([decoded])
    assert table.schema.equals(schema_of(WithSkew), check_metadata=True)
    (row,) = table.to_pylist()
    assert row["skew_deg"] == 1.5
    assert row["aspect"] == pytest.approx(0.7)
    assert set(table.column_names) == {*SCHEMA.names, "skew_deg"}
    assert table.schema.field("skew_deg").metadata[b"help"] == b"angle of the crop"


@pytest.mark.parametrize("row", NEW_ROWS)
def test_a_new_field_of_each_kind_survives(make_record, row):
    kind, value, column_type = NEW_ROWS[row]

    @dataclass(slots=True, eq=False, kw_only=True)
    class Extended(CaptureRecord):
        added: object = field(default=None, metadata=captured(kind, "new", since=9))

    record = as_class(make_record(3), Extended, added=value)
    decoded = make_decoder(Extended)(make_encoder(Extended)(record))
    assert decoded.added == value
    assert decoded.rejected_because is None
    assert decoded.accepted
    table = to_table([decoded])
    assert table.to_pylist()[0]["added"] == value
    assert str(table.schema.field("added").type) == column_type


def test_a_record_from_before_a_field_was_added_gets_its_default(make_record):
    decoded = make_decoder(WithSkew)(encode(make_record(3, rejected_because="blank")))
    assert decoded.skew_deg == 0.0
    assert decoded.rejected_because == "blank"


def test_a_new_field_is_filled_from_where_it_is_measured():
    framed = SimpleNamespace(
        inverted=False,
        passed_through=False,
        num_parts=1,
        num_dropped=0,
        aspect=0.5,
        edges_touched=0,
        skew_deg=2.5,
    )
    assert make_builder(WithSkew)(**arguments(framed=framed)).skew_deg == 2.5


def arguments(**changes):
    """What the sink gives to the builder."""
    image = np.zeros((28, 28), np.uint8)
    return {
        "read_id": "0193465c-5800-7000-8000-000000000001",
        "request_id": "r-1",
        "index": 2,
        "time_us": 3,
        "deadline_us": 4,
        "site": "leeds",
        "model_version": "9",
        "threshold": 0.875,
        "audit_probability": 0.25,
        "is_bulk": True,
        "is_field": True,
        "garbage": -1.5,
        "image": image,
        "crop": image,
        "crop_scale": 3,
        "decision": Decision(7, 0.5, "low_confidence", [0.1] * 10, list(range(10))),
        "framed": Framed(image, True, False, 2, 3, 0.75, 1),
        "challenger": NO_ANSWER,
        "stages": StageTimes(1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0),
        **changes,
    }


def test_the_builder_fills_every_field_by_name():
    built = asdict(build(**arguments()))
    assert list(built) == [one.name for one in fields(CaptureRecord)]
    assert (built["num_parts"], built["num_dropped"], built["edges_touched"]) == (2, 3, 1)
    assert (built["queue_ms"], built["inference_ms"], built["total_ms"]) == (4.0, 5.0, 7.0)
    assert (built["accepted"], built["inverted"], built["passed_through"]) == (False, True, False)
    assert_array_equal(built["probs"], [0.1] * 10)


@pytest.mark.parametrize("with_crop", [True, False])
@pytest.mark.parametrize("seed", range(50))
def test_the_generated_encoder_equals_its_plain_twin(make_record, seed, with_crop):
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, (28, 28), dtype=np.uint8)
    crops = [None, b"a file", image, 255 - image, rng.integers(0, 256, (9, 5), dtype=np.uint8)]
    record = make_record(
        index=int(rng.integers(2**32)),
        site=["", "Würzburg Süd", "x" * 255][seed % 3],
        digit=[None, 0, 9][seed % 3],
        accepted=bool(rng.integers(2)),
        rejected_because=[None, "blank", "not_a_digit"][seed % 3],
        garbage=[-np.inf, -1.5][seed % 2],
        probs=[(), (0.1,) * 10][seed % 2],
        image=[image, None][int(seed % 7 == 0)],
        crop=crops[seed % 5],
        inverted=bool(rng.integers(2)),
        passed_through=bool(rng.integers(2)),
        read_id=f"0193465c-5800-7000-8000-{seed:012d}",
        is_bulk=bool(rng.integers(2)),
        is_field=bool(rng.integers(2)),
        deadline_us=[None, 1_800_000_000_000_000][int(rng.integers(2))],
        crop_scale=int(rng.integers(1, 100_000)),
        num_parts=int(rng.integers(100_000)),
        num_dropped=int(rng.integers(100_000)),
        **{f"{stage}_ms": rng.random() for stage in ("guard", "decode", "queue", "total")},
    )
    assert encode(record, with_crop=with_crop) == encode_plainly(record, with_crop=with_crop)
