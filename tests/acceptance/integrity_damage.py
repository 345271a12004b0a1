"""Only true records enter: frames forged inside pixels, damaged bytes, an older version's files.

The forger knows the code and has a spool of his own, but not the random names of our files.
"""

import contextlib
import json
import os
import random
import shutil
import signal
import struct
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from loadtest.clients.http1 import Request
from serving.edge.key_ring import new_key
from tests.acceptance.archived import Row, Sender, command, compact, files, rows, ship
from tests.acceptance.harness import ROOT, Report, Service, one_crop, only_ours
from tests.acceptance.integrity import spool_and_store

NUM_BEFORE, NUM_AFTER = 10, 3
NUM_DAMAGES, QUICK_DAMAGES = 40, 3
WRITTEN_BY_0_1: Final = ROOT / "tests" / "data" / "written_by_0_1"
FORGED_SITE: Final = "forged-1"  # as long as berlin-1, so that a record can be changed in place
_BEGINNING_GONE: Final = "the beginning is gone"


@dataclass(frozen=True, slots=True)
class Mixed:
    """A spool file with honest records around one whose pixels hold frames of another file."""

    path: Path
    data: bytes
    forged: tuple[int, int]  # where the forged bytes are


def forged_frames(report: Report, kind: str) -> None:
    """Frames of another spool and of the older format inside pixels; the outer frame is torn."""
    only_ours(kind)
    with spool_and_store() as (scratch, _):
        theirs = _spool_of_forger(scratch / "theirs")
        for source, forged in {"another spool": theirs, "older format": _old_frames()}.items():
            mixed = _spool_with(scratch / source, forged)
            report.fact(f"{source}: forged bytes are in the spool", bool(mixed.forged[0] + 1))
            damages = _outer_damages(mixed) if mixed.forged[0] >= 0 else {}
            for name in list(damages)[: 1 if report.is_quick else None]:
                found, ran = _ship_damaged(mixed, damages[name], scratch)
                foreign = [row for row in found if row["site"] == FORGED_SITE]
                honest = {row["request_id"] for row in found if row["site"] == "honest"}
                is_left = name != _BEGINNING_GONE
                wanted = {f"before-{number}" for number in range(NUM_BEFORE if is_left else 0)}
                report.fact(f"{source}, {name}: rows, forged", [len(found), len(foreign)])
                report.expect(f"{source}, {name}: nothing forged is stored", not foreign)
                report.expect(f"{source}, {name}: ship ends well", ran == 0)
                report.expect(f"{source}, {name}: the records before stay", wanted <= honest)


def one_bad_record(report: Report, kind: str) -> None:
    """One byte wrong, anywhere in a spool: that record is lost and kept aside, and no other."""
    only_ours(kind)
    with spool_and_store() as (scratch, _):
        mixed = _spool_with(scratch / "spool", b"")
        whole = len(_ship_damaged(mixed, lambda data: data, scratch)[0])
        rng = random.Random(18)
        fewest, not_kept, failed = whole, 0, 0
        num = QUICK_DAMAGES if report.is_quick else NUM_DAMAGES
        for _ in range(num):
            place, change = rng.randrange(len(mixed.data)), rng.randrange(1, 256)

            def damage(data: bytes, place: int = place, change: int = change) -> bytes:
                return data[:place] + bytes([data[place] ^ change]) + data[place + 1 :]

            found, ran = _ship_damaged(mixed, damage, scratch)
            fewest = min(fewest, len(found))
            failed += ran != 0
            not_kept += not files(scratch / "damaged") and len(found) < whole
        report.fact("damages, records", [num, whole])
        report.fact("fewest records read", fewest)
        report.fact("damaged records that were not kept for inspection", not_kept)
        report.expect("at most one record is lost", fewest >= whole - 1)
        report.expect("ship ends well each time", failed == 0)
        report.expect("what is damaged is kept", not_kept == 0)


def older_files(report: Report, kind: str) -> None:
    """Spool and archive of version 0.1: shipped, compacted and erased; read_id is request_id."""
    only_ours(kind)
    with spool_and_store() as (spool, store):
        shutil.copytree(WRITTEN_BY_0_1 / "spool", spool, dirs_exist_ok=True)
        shutil.copytree(WRITTEN_BY_0_1 / "archive", store)
        expected = json.loads((WRITTEN_BY_0_1 / "expected.json").read_text())
        spooled = sum(one["measured"]["num_records"] for one in expected["spool"])
        alone = store.with_name("alone")
        copy = spool.with_name("copy")
        shutil.copytree(spool, copy)
        only = ship(copy, alone)
        shipped = rows(alone)
        report.fact("records in the old spool, rows", [spooled, len(shipped)])
        report.expect("the old spool is shipped", only.returncode == 0 and len(shipped) == spooled)
        before = {(row["request_id"], row["crop_index"]) for row in rows(store)}
        days = {path.name.removeprefix("day=") for path in store.glob("records/day=*")}
        ran = [ship(spool, store), *(compact(store, day) for day in days)]
        merged = rows(store)
        after = [(row["request_id"], row["crop_index"]) for row in merged]
        erased = before - set(after)
        report.fact("old rows, rows after ship and compact", [len(before), len(after)])
        report.fact("exit codes", [one.returncode for one in ran])
        report.expect("commands end well", not any(one.returncode for one in ran))
        report.expect("each row once", len(after) == len(set(after)))
        report.expect("only what was erased is gone", len({one for one, _ in erased}) <= 1)
        report.expect(
            "read_id is request_id", all(row.get("read_id") == row["request_id"] for row in merged)
        )
        victim = str(merged[0]["request_id"])
        places = ["--spool", spool, "--store", store, "--reports", store.parent / "reports"]
        gone = command("erase", victim, *places)
        for day in days:
            compact(store, day)
        left = {row["request_id"] for row in rows(store)}
        report.expect("an old id is erased", gone.returncode == 0 and victim not in left)


def _old_frames() -> bytes:
    """Two frames as version 0.1 wrote them, of a site that nobody has."""
    frame = struct.Struct("<4sII")
    data = (WRITTEN_BY_0_1 / "spool" / "1795697754875934-0c26fc0b1a978ef8.seg").read_bytes()
    magic, length, _ = frame.unpack_from(data)
    payload = data[frame.size : frame.size + length].replace(b"berlin-1", FORGED_SITE.encode())
    one = frame.pack(magic, length, zlib.crc32(payload)) + payload
    return one + one


def _spool_of_forger(folder: Path) -> bytes:
    """All bytes of a spool that a forger's own service has written, of FORGED_SITE."""
    key, entry = new_key(FORGED_SITE, ["predict"], None)
    spool = folder / "spool"
    with _serving(spool, [entry]) as service:
        small = np.full((20, 20), 255, np.uint8)
        small[4:16, 9:12] = 0
        _post(service, small[None], key, "forged")
        _post(service, small[None], key, "forged-2")
        _kill(service)
    return files(spool)[0].read_bytes()


def _spool_with(folder: Path, forged: bytes) -> Mixed:
    """A spool of honest records around a crop whose pixels are the forged bytes."""
    keys = [new_key(site, ["predict"], None) for site in ("honest", "evil")]
    honest, evil = (key for key, _ in keys)
    spool = folder / "spool"
    with _serving(spool, [entry for _, entry in keys]) as service:
        Sender(service, one_crop(), "before").send(NUM_BEFORE, {"X-Api-Key": honest})
        if forged:
            status = _post(service, _pixels_of(forged)[None], evil, "evil")
            assert status == 200, f"the crop with the forged bytes is answered {status}"
        Sender(service, one_crop(), "after").send(NUM_AFTER, {"X-Api-Key": honest})
        _kill(service)
    path = files(spool)[0]
    data = path.read_bytes()
    start = data.find(forged) if forged else -1
    return Mixed(path, data, (start, start + len(forged)))


def _pixels_of(forged: bytes) -> NDArray[np.uint8]:
    """A crop with a stroke, and the bytes in its rows below the middle."""
    width = 256
    num_rows = -(-len(forged) // width)
    pixels = np.full((max(40, 24 + num_rows + 2), width), 255, np.uint8)
    pixels[4:20, 120:124] = 0
    pixels[24 : 24 + num_rows].reshape(-1)[: len(forged)] = np.frombuffer(forged, np.uint8)
    return pixels


def _outer_damages(mixed: Mixed) -> dict[str, Callable[[bytes], bytes]]:
    """What a kill, a disk or a hand may do to the record that holds the forged bytes."""
    start, end = mixed.forged

    def flip(place: int) -> Callable[[bytes], bytes]:
        return lambda data: data[:place] + bytes([data[place] ^ 0xFF]) + data[place + 1 :]

    return {
        "wrong byte just before": flip(start - 1),
        "torn after the forged bytes": lambda data: data[: end + 5],
        "torn at their end": lambda data: data[:end],
        "wrong byte after": flip(end + 1),
        "zeros in front of them": lambda data: data[: start - 2_000] + bytes(2_000) + data[start:],
        _BEGINNING_GONE: lambda data: data[start:],
        "bytes taken out": lambda data: data[: start - 40] + data[start - 20 :],
        "bytes put in": lambda data: data[: start - 40] + bytes(7) + data[start - 40 :],
    }


def _ship_damaged(
    mixed: Mixed, damage: Callable[[bytes], bytes], scratch: Path
) -> tuple[list[Row], int]:
    """Ship a damaged copy under the file's own name: the rows, and the exit code."""
    folder, store = scratch / "damaged", scratch / "damaged-store"
    for one in (folder, store):
        shutil.rmtree(one, ignore_errors=True)
    folder.mkdir()
    (folder / mixed.path.name).write_bytes(damage(mixed.data))
    ran = ship(folder, store)
    return rows(store), ran.returncode


@contextlib.contextmanager
def _serving(spool: Path, entries: list[dict[str, object]]) -> Iterator[Service]:
    env = {
        "DIGITS_CAPTURE_DIR": str(spool),
        "DIGITS_API_KEYS_JSON": json.dumps({"keys": entries}),
    }
    with Service(env=env) as service:
        yield service


def _post(service: Service, crops: NDArray[np.uint8], key: str, request_id: str) -> int:
    with tempfile.TemporaryFile() as file:
        np.save(file, crops)
        file.seek(0)
        request = Request("/v1/digits", "application/x-npy", file.read())
    sent = {"Content-Type": request.content_type, "X-Api-Key": key, "X-Request-Id": request_id}
    return service.ask("POST", request.path, request.body, sent)[0]


def _kill(service: Service) -> None:
    """kill -9 of all processes, the supervisor first, so that the segment stays open."""
    workers = service.worker_pids()
    for pid in [*(set(service.tree.pids()) - set(workers)), *workers]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    time.sleep(0.3)


CHECKS: Final = {
    "forged-frames": forged_frames,
    "one-bad-record": one_bad_record,
    "older-files": older_files,
}
