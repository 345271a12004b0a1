"""A 200 has its record: repeated ids, and a spool that others remove, cut or move while serving."""

import contextlib
import json
import os
import random
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import numpy as np

from loadtest import digit_crops
from loadtest.clients.http1 import multipart
from loadtest.field_images import field_png
from serving.edge.key_ring import new_key
from tests.acceptance.archived import (
    Readiness,
    Sender,
    command,
    compact,
    files,
    rows,
    ship,
    shipped_rows,
)
from tests.acceptance.harness import Report, Service, one_crop, only_ours

NUM, REPAIRED_WITHIN_S, GONE_ON_FRAC = 20, 30.0, 0.9
SAME_ID: Final = "scanner-7"
SAME: Final = {"X-Request-Id": SAME_ID}


def same_request_id(report: Report, kind: str) -> None:
    """Two sites and two workers send one request id on every path: a row for each read crop."""
    only_ours(kind)
    keys = dict(new_key(site, ["predict"], None) for site in ("north", "south"))
    env = {
        "DIGITS_DRAIN_S": "0",
        "DIGITS_WORKERS": "1" if report.is_quick else "2",
        "DIGITS_API_KEYS_JSON": json.dumps({"keys": list(keys.values())}),
    }
    with (
        spool_and_store() as (spool, store),
        Service(env=env | {"DIGITS_CAPTURE_DIR": str(spool)}) as it,
    ):
        read_ids: list[str | None] = []
        num_crops, wrong = 0, Counter[str]()
        for number in range(NUM):
            key = list(keys)[number % 2]
            for path, content_type, body, num in _reads(number, is_quick=report.is_quick):
                sent = {"Content-Type": content_type, "X-Api-Key": key, **SAME}
                status, headers, answer = it.ask("POST", path, body, sent)
                read_ids.append(headers.get("x-read-id"))
                num_crops += num if status == 200 else 0
                wrong[f"{path}: {status}"] += status != 200
                wrong[f"{path}: the id is not echoed"] += headers.get("x-request-id") != SAME_ID
                wrong[f"{path}: no x-read-id"] += read_ids[-1] is None
                in_body = json.loads(answer or b"{}").get("read_id")
                wrong[f"{path}: no read_id in the body"] += (
                    path.startswith("/v1/") and in_body != read_ids[-1]
                )
        wrong = +wrong
        report.fact("wrong answers", dict(wrong))
        report.expect("ids are echoed, and in body and header", not wrong)
        it.stop(grace_s=30)
        shipped = shipped_rows(spool, store)
        compact(store)
        _judge_rows(report, read_ids, num_crops, shipped, rows(store))
        if not report.is_quick:
            _erase_one(report, read_ids, spool, store)


def _judge_rows(
    report: Report,
    read_ids: list[str | None],
    num_crops: int,
    shipped: list[dict[str, object]],
    compacted: list[dict[str, object]],
) -> None:
    keys = {(row.get("read_id"), row["crop_index"]) for row in compacted}
    report.fact("crops answered", num_crops)
    report.fact("rows shipped and compacted", [len(shipped), len(compacted)])
    report.fact("read ids", [len(read_ids), len(set(read_ids))])
    report.expect("a row for each crop after ship", len(shipped) == num_crops)
    report.expect("a row for each crop after compact", len(compacted) == num_crops)
    report.expect("every read has an id of its own", len(set(read_ids)) == len(read_ids))
    report.expect("read_id and crop_index are the key", len(keys) == num_crops)
    report.expect("the answer's ids are the rows'", {one for one, _ in keys} == set(read_ids))
    report.expect(
        "the sender's id is stored", {row["request_id"] for row in compacted} == {SAME_ID}
    )


def _erase_one(report: Report, read_ids: list[str | None], spool: Path, store: Path) -> None:
    """Erasure by read_id takes one read; by a request id that names many reads, none."""
    before = len(rows(store))
    places = ["--spool", spool, "--store", store, "--reports", store.parent / "reports"]
    many = command("erase", SAME_ID, *places)
    compact(store)
    report.fact("erase of the repeated id", f"exit {many.returncode}: {many.stderr[-120:]}")
    report.expect("an ambiguous id erases nothing", len(rows(store)) == before and many.returncode)
    report.expect("it names the candidates", str(read_ids[0]) in many.stderr + many.stdout)
    one = command("erase", str(read_ids[0]), *places)
    compact(store)
    report.fact("rows after erasing one read", [before, len(rows(store))])
    report.expect("one read is erased", one.returncode == 0 and len(rows(store)) == before - 1)


def _reads(number: int, *, is_quick: bool) -> Iterator[tuple[str, str, bytes, int]]:
    """(path, content type, body, number of crops) of requests that each read crops."""
    pngs = [crop.png for crop in digit_crops.spread(digit_crops.load(), NUM)]
    yield "/v1/digit", "image/png", pngs[number], 1
    if is_quick:
        return
    form = multipart("", "crop", pngs[:3], {})
    yield "/v1/digits", form.content_type, form.body, 3
    yield "/v1/postcode", form.content_type, form.body, 3
    field = field_png(digit_crops.load()[:100:20], random.Random(1))
    yield "/v1/field?digits=5", "image/png", field, 5
    image = np.zeros((28, 28), int)
    image[4:24, 12:16] = 255
    tensor = {"name": "image", "datatype": "UINT8", "shape": [1, 28, 28]}
    call = {"inputs": [{**tensor, "data": image.ravel().tolist()}]}
    yield "/v2/models/digits/infer", "application/json", json.dumps(call).encode(), 1


def spool_lost(report: Report, kind: str) -> None:
    """Folder and open segment removed, replaced, moved, cut: no 200 without a record."""
    only_ours(kind)
    for name in list(_LOSSES)[: 1 if report.is_quick else None]:
        lose, repair = _LOSSES[name]
        with spool_and_store() as (spool, store):
            env = {"DIGITS_CAPTURE_DIR": str(spool), "DIGITS_DRAIN_S": "0"}
            with Service(env=env) as it:
                Sender(it, one_crop(), "before").send(5)
                watch = Readiness(it)
                watch.start()
                lose(spool)
                during = Sender(it, one_crop(), "during")
                num_kept = 0
                for _ in range(10 if report.is_quick else 40):
                    num_kept += during.send(3)
                    time.sleep(0.05)
                was_red = watch.stop()
                repair(spool)
                seconds = _ready_after_s(it)
                after = Sender(it, one_crop(), "after")
                after.send(NUM)
                it.stop(grace_s=30)
            # What was moved away is a record on disk as well.
            found = shipped_rows(spool, store)
            for other in (spool.with_name("moved"), spool.with_name("moved-file")):
                found += shipped_rows(other, store.with_name(other.name)) if other.exists() else []
            report.fact(f"{name}: 200s meanwhile, lost", [num_kept, len(during.missing(found))])
            report.fact(f"{name}: readiness was red", was_red)
            report.fact(f"{name}: ready again after s", seconds)
            report.fact(f"{name}: 200s afterwards, lost", [NUM, len(after.missing(found))])
            report.expect(f"{name}: no 200 without a record", not during.missing(found))
            # A new segment at once costs the requests that met the lost one.
            report.expect(
                f"{name}: readiness was red, or records went on",
                was_red or num_kept >= GONE_ON_FRAC * len(during.statuses),
            )
            report.expect(f"{name}: recovers", seconds < REPAIRED_WITHIN_S)
            report.expect(f"{name}: every crop is answered again", len(after.answered) == NUM)
            report.expect(f"{name}: and recorded", not after.missing(found))


def _ready_after_s(service: Service) -> float:
    begun = time.monotonic()
    while time.monotonic() - begun < REPAIRED_WITHIN_S:
        if service.status("/readyz") == 200:
            return time.monotonic() - begun
        time.sleep(0.1)
    return REPAIRED_WITHIN_S


def _replace_folder(spool: Path) -> None:
    shutil.rmtree(spool)
    spool.mkdir()


def _file_for_folder(spool: Path) -> None:
    shutil.rmtree(spool)
    spool.write_text("")


def _folder_for_file(spool: Path) -> None:
    if spool.is_file():
        spool.unlink()
    spool.mkdir(exist_ok=True)


def _move_folder(spool: Path) -> None:
    spool.rename(spool.with_name("moved"))


def _move_folder_and_make(spool: Path) -> None:
    _move_folder(spool)
    spool.mkdir()


def _open_segment(spool: Path) -> Path:
    return files(spool)[0]


def _truncate(spool: Path) -> None:
    os.truncate(_open_segment(spool), 0)


def _cut_last_record(spool: Path) -> None:
    segment = _open_segment(spool)
    os.truncate(segment, segment.stat().st_size - 10)


def _move_segment(spool: Path) -> None:
    folder = spool.with_name("moved-file")
    folder.mkdir()
    segment = _open_segment(spool)
    segment.rename(folder / segment.name)


def _replace_segment(spool: Path) -> None:
    segment = _open_segment(spool)
    copy = segment.with_name("copy")
    shutil.copy(segment, copy)
    copy.rename(segment)


def _make(spool: Path) -> None:
    spool.mkdir(exist_ok=True)


def _nothing(spool: Path) -> None:
    pass


_LOSSES: Final[dict[str, tuple[Callable[[Path], object], Callable[[Path], object]]]] = {
    "folder removed": (shutil.rmtree, _make),
    "open segment removed": (lambda spool: _open_segment(spool).unlink(), _nothing),
    "folder replaced by an empty one": (_replace_folder, _nothing),
    "folder moved": (_move_folder, _make),
    "folder moved and made again": (_move_folder_and_make, _nothing),
    "folder replaced by a file": (_file_for_folder, _folder_for_file),
    "open segment truncated": (_truncate, _nothing),
    "last record cut": (_cut_last_record, _nothing),
    "open segment moved": (_move_segment, _nothing),
    "open segment replaced by a copy": (_replace_segment, _nothing),
    "all files removed": (lambda spool: [one.unlink() for one in files(spool)], _nothing),
}


def site_names(report: Report, kind: str) -> None:
    """A site's name is refused at start, or its crops are read and archived under it."""
    only_ours(kind)
    for name in list(_SITES)[: 1 if report.is_quick else None]:
        key, entry = new_key("x", ["predict"], None)
        with spool_and_store() as (spool, store):
            env = {
                "DIGITS_DRAIN_S": "0",
                "DIGITS_CAPTURE_DIR": str(spool),
                "DIGITS_API_KEYS_JSON": json.dumps({"keys": [{**entry, "site": _SITES[name]}]}),
            }
            try:
                with Service(env=env) as it:
                    sender = Sender(it, one_crop(), "x")
                    sender.send(3, {"X-Api-Key": key})
                    metrics = it.status("/metrics")
                    it.stop(grace_s=30)
                shipped = ship(spool, store)
                sites = {row["site"] for row in rows(store)}
                report.fact(name, f"{sender.statuses}, metrics {metrics}, archived {len(sites)}")
                report.expect(f"{name}: read", sender.statuses == [200] * 3 and metrics == 200)
                report.expect(f"{name}: shipped", shipped.returncode == 0)
                report.expect(f"{name}: archived under it", sites == {_SITES[name]})
            except TimeoutError as error:
                refusal = str(error).partition("not starting: ")[2].strip()
                report.fact(name, f"refused: {refusal[:100]}")
                report.expect(f"{name}: refused with one line", refusal and "\n" not in refusal)


_SITES: Final[dict[str, object]] = {
    "300 characters": "s" * 300,
    "a lone surrogate": "\ud800",
    "70 emoji": "\N{GRINNING FACE}" * 70,
    "255 bytes": "s" * 255,
    "85 characters of 9 bytes as a path": "\N{EURO SIGN}" * 85,
    "a path": "../../etc",
    "a line break": "a\nb",
    "a zero byte": "a\0b",
    "quotes": 'a"b\\',
    "nothing": "",
    "null": None,
    "a number": 7,
    "two dots": "..",
}


@contextlib.contextmanager
def spool_and_store() -> Iterator[tuple[Path, Path]]:
    """Places for a spool and an archive."""
    with tempfile.TemporaryDirectory(prefix="acceptance-", ignore_cleanup_errors=True) as name:
        (Path(name) / "spool").mkdir()
        yield Path(name) / "spool", Path(name) / "store"


CHECKS: Final = {
    "same-request-id": same_request_id,
    "spool-lost": spool_lost,
    "site-names": site_names,
}
