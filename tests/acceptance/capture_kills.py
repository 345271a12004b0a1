"""kill -9 at eight named points: each acknowledged record must be in the archive exactly once.

    python -m tests.acceptance.capture_kills --kills 25

In each round a writer acknowledges records over a pipe, as the service sends a 200; records of one
write are acknowledged together. The writer or the shipper is killed at the named point, both are
started again, and the archive is read and deduplicated. Only forked children use Parquet, because
its threads make a later fork unsafe.
The check `capture-kills` runs this program.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from capture import archive, ship
from capture.sampling import read_sample
from capture.segments import recover, sealed_segments
from capture.spool import Spool
from capture.store import Folder, open_store
from tests.made_records import make

ROOT = Path(__file__).resolve().parents[2]
CAPTURE_POINTS = ("pre-append", "mid-write", "post-append", "post-fsync")
SHIP_POINTS = ("pre-upload", "mid-upload", "post-upload", "pre-delete")
POINTS = (*CAPTURE_POINTS, *SHIP_POINTS)
WINDOW = archive.Window(date(2026, 11, 20), date(2026, 11, 20))
NUM_WRITES = 14
TOGETHER = 3  # records that one write takes
NUM_RECORDS = NUM_WRITES * TOGETHER


@dataclass(frozen=True)
class Round:
    acknowledged: list[str]
    archived: list[str]  # deduplicated
    num_stored: int  # before deduplication
    was_killed: bool


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def call_nth(function: Callable, turn: int, instead: Callable) -> Callable:
    """Wrap a function: on its nth call, `instead(function, *arguments)` runs."""
    calls = iter(range(1, 1_000_000))

    def wrapped(*arguments, **named):
        if next(calls) == turn:
            return instead(lambda: function(*arguments, **named), *arguments)
        return function(*arguments, **named)

    return wrapped


def arm(point: str, turn: int) -> None:
    """Make this process kill itself the nth time that it reaches a point."""

    def before(_proceed, *_):
        die()

    def after(proceed, *_):
        proceed()
        die()

    def half_written(_proceed, descriptor, buffers):
        data = b"".join(buffers)
        os.write(descriptor, data[: random.Random(turn).randrange(1, len(data))])
        die()

    def half_uploaded(_proceed, store, key, data, **_):
        path = Path(store.url) / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.with_name(".part-half").write_bytes(data[: len(data) // 2])
        die()

    def after_upload(proceed, *_):
        proceed()
        die()

    patches = {
        "pre-append": (os, "writev", before),
        "mid-write": (os, "writev", half_written),
        "post-append": (os, "writev", after),
        "post-fsync": (os, "fdatasync", after),
        "pre-upload": (Folder, "put", before),
        "mid-upload": (Folder, "put", half_uploaded),
        "post-upload": (Folder, "put", after_upload),
        "pre-delete": (Path, "unlink", before),
    }
    owner, name, instead = patches[point]
    setattr(owner, name, call_nth(getattr(owner, name), turn, instead))


def in_child(work: Callable[[int], None]) -> tuple[bytes, int]:
    """Run work in a forked process; what it wrote to its pipe, and its wait status."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        try:
            work(writing)
        except BaseException as error:  # noqa: BLE001 - a forked child must not return
            print(f"child failed: {error!r}", file=sys.stderr)
            os._exit(1)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        pipe_output = pipe.read()
    return pipe_output, os.waitpid(child, 0)[1]


def write(folder: Path, first: int, pipe: int, *, point: str | None, turn: int) -> None:
    if point in CAPTURE_POINTS:
        arm(point, turn)
    spool = Spool(folder, max_segment_bytes=12_000, fsync=point == "post-fsync")
    for start in range(first, first + NUM_RECORDS, TOGETHER):
        numbers = range(start, start + TOGETHER)
        records = [make(number, site=f"site {number % 2}") for number in numbers]
        spool.append_frames([spool.frame(record) for record in records])
        os.write(pipe, "".join(f"{record.request_id}\n" for record in records).encode())
    spool.close()


def move(spool: Path, store: Path, *, point: str | None, turn: int) -> None:
    recover(spool)
    if point in SHIP_POINTS:
        arm(point, turn)
    ship.ship_once(spool, open_store(str(store)))


def read(store: Path, pipe: int) -> None:
    sample = read_sample(
        open_store(str(store)), WINDOW, columns=[], max_rows=10_000, min_rows_per_site=10_000
    )
    os.write(pipe, json.dumps([sample.num_stored, sample.rows["request_id"].tolist()]).encode())


def run_round(point: str, seed: int) -> Round:
    turn = random.Random(f"{point}/{seed}").randrange(1, 6 if point in SHIP_POINTS else NUM_WRITES)
    with tempfile.TemporaryDirectory() as scratch:
        spool, store = Path(scratch) / "spool", Path(scratch) / "store"
        pipe_output, first = in_child(lambda pipe: write(spool, 0, pipe, point=point, turn=turn))
        acknowledged = pipe_output.decode().split()
        _, second = in_child(lambda _: move(spool, store, point=point, turn=turn))
        pipe_output, _ = in_child(lambda pipe: write(spool, NUM_RECORDS, pipe, point=None, turn=0))
        acknowledged += pipe_output.decode().split()
        in_child(lambda _: move(spool, store, point=None, turn=0))
        pipe_output, _ = in_child(lambda pipe: read(store, pipe))
        num_stored, archived = json.loads(pipe_output)
        assert not sealed_segments(spool), "something was not shipped"
    return Round(acknowledged, archived, num_stored, was_killed=signal.SIGKILL in (first, second))


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.acceptance.capture_kills",
        description="Count lost and doubled records after kill -9 of the writer and the shipper.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--kills", type=int, default=25, help="kills at each point")
    parser.add_argument("--json", type=Path, help="file for the counts as JSON")
    options = parser.parse_args()
    kills = options.kills
    counts = {}
    print("point        kills  acknowledged  stored  deduped  lost  twice  never acknowledged")
    num_failed = 0
    for point in POINTS:
        rounds = [run_round(point, seed) for seed in range(kills)]
        num_killed = sum(one.was_killed for one in rounds)
        lost = sum(len(set(one.acknowledged) - set(one.archived)) for one in rounds)
        twice = sum(len(one.archived) - len(set(one.archived)) for one in rounds)
        extra = sum(len(set(one.archived) - set(one.acknowledged)) for one in rounds)
        num_acknowledged = sum(len(one.acknowledged) for one in rounds)
        kept = sum(len(one.archived) for one in rounds)
        stored = sum(one.num_stored for one in rounds)
        print(
            f"{point:12} {num_killed:5} {num_acknowledged:13} {stored:7} {kept:8} "
            f"{lost:5} {twice:6} {extra:19}"
        )
        counts[point] = {
            "kills": num_killed,
            "acknowledged": num_acknowledged,
            "lost": lost,
            "twice": twice,
            "never_acknowledged": extra,
        }
        num_failed += lost + twice + (kills - num_killed) + (extra > TOGETHER * num_killed)
    if options.json:
        options.json.write_text(json.dumps(counts))
    print("every acknowledged record is archived exactly once" if not num_failed else "FAILED")
    return 1 if num_failed else 0


if __name__ == "__main__":
    sys.exit(main())
