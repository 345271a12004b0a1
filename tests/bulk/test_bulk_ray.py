"""The same job on a Ray cluster of two nodes; needs `pip install -r requirements-bulk.txt`."""

import contextlib
import importlib.util
import logging

import pytest
from bulk_sources import folder_of, parquet_of, read, rows_of, run_command, tar_of

pytestmark = [
    pytest.mark.nightly,
    pytest.mark.skipif(
        importlib.util.find_spec("ray") is None, reason="ray is an extra: requirements-bulk.txt"
    ),
    pytest.mark.filterwarnings("default"),  # ray's
]


@pytest.fixture(scope="module")
def cluster():
    import ray
    from ray.cluster_utils import Cluster

    nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    nodes.add_node(num_cpus=1)
    ray.init(address=nodes.address, log_to_driver=False, logging_level=logging.ERROR)
    yield nodes
    ray.shutdown()
    nodes.shutdown()


def on_ray(task, shards):
    from bulk.ray_engine import read_on_ray

    return read_on_ray(task, shards, None)


@pytest.mark.parametrize("pack", [folder_of, parquet_of, tar_of])
def test_parts_are_the_same_on_a_cluster(pack, cluster, crops, tmp_path, tiny_champion):
    ending = {folder_of: "", parquet_of: ".parquet", tar_of: ".tar"}[pack]
    source = pack(crops, tmp_path / f"in{ending}")
    read(source, tmp_path / "here", tiny_champion)
    read(source, tmp_path / "there", tiny_champion, engine=on_ray)
    assert len(rows_of(tmp_path / "there")) == 200
    for part in sorted((tmp_path / "here").glob("part-*")):
        assert (tmp_path / "there" / part.name).read_bytes() == part.read_bytes()


@contextlib.contextmanager
def held_cpus(number):
    """Another user's actors, a CPU each."""
    import ray

    class Holder:
        def ready(self):
            return True

    actors = [ray.remote(Holder).options(num_cpus=1).remote() for _ in range(number)]
    ray.get([actor.ready.remote() for actor in actors])

    def release():
        while actors:
            ray.kill(actors.pop())

    try:
        yield release
    finally:
        release()


def test_a_job_runs_on_the_cpus_that_others_leave(cluster, crops, tmp_path, tiny_champion):
    folder = folder_of(crops, tmp_path / "in")
    with held_cpus(1):
        report = read(folder, tmp_path / "out", tiny_champion, engine=on_ray, shard_rows=20)
    assert report.counts.rows == 200


def test_a_job_that_waits_for_cpus_says_so(
    cluster, crops, tmp_path, tiny_champion, monkeypatch, caplog
):
    from bulk import ray_engine

    monkeypatch.setattr(ray_engine, "_PATIENCE_S", 3.0)
    folder = folder_of(crops, tmp_path / "in")
    told = []
    with held_cpus(2) as release, caplog.at_level(logging.WARNING, "bulk.ray_engine"):
        idle = ray_engine._idle

        def free_then():
            told.append(idle())
            release()
            return told[-1]

        monkeypatch.setattr(ray_engine, "_idle", free_then)
        report = read(folder, tmp_path / "out", tiny_champion, engine=on_ray)
    assert "no shard was read for 3 s. The cluster has 2 CPUs, 0 are free" in told[0]
    assert told[0] in caplog.messages
    assert report.counts.rows == 200


def test_a_job_goes_on_on_another_engine(cluster, crops, tmp_path, tiny_champion):
    """A job that was stopped on this machine is ended by the cluster."""
    path = parquet_of(crops, tmp_path / "in.parquet", row_group_size=10)
    read(path, tmp_path / "out", tiny_champion, shard_rows=20)
    for number in (2, 5, 6):
        (tmp_path / "out" / f"part-{number:06d}.parquet").unlink()
    report = read(path, tmp_path / "out", tiny_champion, shard_rows=20, engine=on_ray)
    assert report.resumed_shards == 7
    assert [row["name"] for row in rows_of(tmp_path / "out")] == [crop.name for crop in crops]


def test_the_command_uses_the_cluster_of_ray_address(
    cluster, crops, tmp_path, tiny_champion, monkeypatch
):
    """Our packages are sent to its nodes."""
    source = folder_of(crops, tmp_path / "in")
    monkeypatch.setenv("RAY_ADDRESS", cluster.address)
    done = run_command(
        "read", source, "--out", tmp_path / "out", "--champion", tiny_champion, "--shard-rows", 50
    )
    assert done.returncode == 0, done.stderr
    assert len(rows_of(tmp_path / "out")) == 200
