"""No record, no answer: what is answered with 200 is on disk."""

import pytest
from asgi import form

from monitoring.capture import Spool, SpoolError, read_segment


def records_in(folder):
    found = []
    for path in sorted(folder.iterdir()):
        found += list(read_segment(path))
    return found


async def test_what_is_answered_is_on_disk_before_its_answer(serve, crops, tmp_path):
    client = await serve(capture_dir=tmp_path)
    reply = await client.post("/v1/digit", crops[0].png, x_request_id="r-1")
    (record,) = records_in(tmp_path)
    assert record.request_id == "r-1"
    assert record.digit == reply.json["digit"]
    assert record.confidence == pytest.approx(reply.json["confidence"])
    assert record.model_version == "tiny-1"
    assert record.site == "local"
    assert (record.crop == crops[0].pixels).all()


async def test_each_crop_of_a_bulk_request_is_a_record(serve, crops, tmp_path):
    client = await serve(capture_dir=tmp_path)
    kind, body = form(crops[0].png, crops[1].png[:40], crops[2].png)
    await client.post("/v1/digits", body, kind)
    assert [one.index for one in records_in(tmp_path)] == [0, 2]


async def test_a_crop_that_cannot_be_captured_is_503_and_never_200(
    serve, crops, tmp_path, monkeypatch
):
    client = await serve(capture_dir=tmp_path)

    def fail(spool, record):
        raise SpoolError("no space left on the spool's disk")

    monkeypatch.setattr(Spool, "append", fail)
    reply = await client.post("/v1/digit", crops[0].png)
    assert reply.status == 503
    assert "no space left" in reply.json["detail"]


async def test_a_refused_crop_is_not_captured(serve, crops, tmp_path):
    client = await serve(capture_dir=tmp_path)
    await client.post("/v1/digit", crops[0].png[:40])
    assert records_in(tmp_path) == []


async def test_originals_stay_out_where_they_are_not_wanted(serve, crops, tmp_path):
    client = await serve(capture_dir=tmp_path, capture_originals="false")
    await client.post("/v1/digit", crops[0].png)
    (record,) = records_in(tmp_path)
    assert record.crop is None
    assert record.image is not None


async def test_a_folder_that_cannot_be_written_stops_the_start(serve, tmp_path):
    path = tmp_path / "file"
    path.write_text("in the way")
    with pytest.raises(SpoolError):
        await serve(capture_dir=path)


async def test_without_a_folder_no_spool_is_opened(serve, crops, monkeypatch):
    def refuse(*args, **options):
        raise AssertionError("a spool was opened")

    monkeypatch.setattr("serving.capture.Spool", refuse)
    client = await serve()
    assert (await client.post("/v1/digit", crops[0].png)).status == 200
