"""Sources and output in S3 (moto's API on loopback), read by processes of their own."""

import pytest
from bulk_sources import folder_of, parquet_of, read, tar_of, zip_of

from capture.store import open_store


def upload(path, to):
    store = open_store(to)
    files = [path] if path.is_file() else sorted(one for one in path.rglob("*") if one.is_file())
    root = path.parent if path.is_file() else path
    for file in files:
        key = file.relative_to(root).as_posix()
        store.put(key, file.read_bytes(), content_type="application/octet-stream")


def digits_in(url):
    import pyarrow.parquet as pq

    filesystem, root = open_store(url).arrow()
    keys = [key for key in open_store(url).find("") if key.startswith("part-")]
    tables = [pq.read_table(f"{root}/{key}", filesystem=filesystem) for key in keys]
    return [row for table in tables for row in table.to_pylist()]


@pytest.mark.parametrize("pack", [folder_of, parquet_of, tar_of, zip_of])
def test_a_source_in_s3_is_read_into_s3(pack, s3, crops, tmp_path, tiny_champion):
    ending = {folder_of: "", parquet_of: ".parquet", tar_of: ".tar", zip_of: ".zip"}[pack]
    path = pack(crops, tmp_path / f"in{ending}")
    upload(path, "s3://digits/source")
    source = f"s3://digits/source/{path.name}" if ending else "s3://digits/source"
    for resumed in (0, 4):
        report = read(source, "s3://digits/out/day", tiny_champion)
        assert report.resumed_shards == resumed
    rows = digits_in("s3://digits/out/day")
    labels = {crop.name: crop.label for crop in crops}
    assert {row["name"].rpartition("/")[2]: row["digit"] for row in rows} == labels
    assert len(rows) == 200


def test_a_store_that_fails_costs_its_shard_only(s3, crops, tmp_path, tiny_champion):
    """The answers of one shard cannot be written; the next run writes them."""
    folder_of(crops, tmp_path / "in")

    def engine(task, shards):
        from bulk.local_pool import read_here

        for place, done in enumerate(read_here(task, shards, 1)):
            if place == 0:
                s3.start("403 Forbidden", left=1)
            yield done

    report = read(tmp_path / "in", "s3://digits/out", tiny_champion, engine=engine, may_fail=True)
    assert len(report.failures) == 1
    assert "cannot write s3://digits/out/part-000001.parquet" in report.failures[0]
    assert report.counts.rows == 136
    report = read(tmp_path / "in", "s3://digits/out", tiny_champion)
    assert (report.counts.rows, report.failures) == (200, [])
