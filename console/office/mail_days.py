"""The reads of the last weeks as arrays of numbers; a folder of the archive is read once.

A folder is read again when its files change: by shipping, compaction or an erasure. Nothing here
holds a picture or an id: a read is known by 8 bytes of its id's hash. Knows nothing about targets.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final
from urllib.parse import unquote

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.fs
from numpy.typing import NDArray

from capture.archive import ERASED, LABEL_EVENTS, LABELS, RECORDS, with_read_ids
from capture.erasure import erased_ids, fingerprint, without_erased
from capture.labels import read_labels
from capture.sampling import is_mail, open_dataset
from capture.store import Store

NO_DIGIT: Final = -1  # a blank crop
NO_LABEL: Final = ""
_SPREAD: Final = np.uint64(0x9E3779B97F4A7C15)  # odd: keys of a read's crops are far apart
_COLUMNS: Final = [
    *("read_id", "request_id", "crop_index", "time", "model_version", "digit", "confidence"),
    *("accepted", "rejected_because", "threshold", "garbage", "audit_probability", "is_bulk"),
]
_DTYPE: Final = np.dtype(
    [
        ("key", np.uint64),
        ("day", "datetime64[D]"),
        ("hour", np.int8),
        ("site", np.int16),  # place in `Mail.sites`
        ("version", "U16"),
        ("digit", np.int8),
        ("confidence", np.float32),
        ("garbage", np.float32),  # -inf: the model has no such output
        ("threshold", np.float32),
        ("accepted", np.bool_),
        ("is_held", np.bool_),  # not accepted because its site was on hold
        ("audit_probability", np.float32),
        ("is_audit", np.bool_),  # its label is an audit's
        ("label", "U11"),  # NO_LABEL: none is settled
    ]
)
Files = tuple[tuple[str, int, int], ...]  # key, size and time of change


@dataclass(frozen=True, slots=True)
class Mail:
    """Every captured crop of some days, without bulk requests and synthetic reads."""

    reads: NDArray[np.void]  # of _DTYPE, the oldest day first
    sites: Sequence[str]
    days: Sequence[date]  # those that have reads


class MailReader:
    """Reads the mail of the last days; keeps what it has read until files change."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # two visits at once read once
        self._folders: dict[str, tuple[Files, NDArray[np.void]]] = {}
        self._labels: tuple[Files, pd.DataFrame] | None = None

    def read(self, store: Store, num_days: int) -> Mail:
        """The last days up to the newest one that has mail.

        Args:
            store: the archive; the same one in each call.
            num_days: how many days.

        Raises:
            StoreError, OSError, ValueError: the archive cannot be read.
        """
        with self._lock:
            found = _list(store, RECORDS)
            folders: dict[str, list[tuple[str, int, int]]] = {}
            for file in found:
                if is_mail(file[0]) and file[0].count("/") == 3:
                    folders.setdefault(file[0].rpartition("/")[0], []).append(file)
            newest = max((_day_of(folder) for folder in folders), default=date.min)
            first = newest - timedelta(num_days - 1) if folders else newest
            wanted = {one: tuple(f) for one, f in folders.items() if _day_of(one) >= first}
            self._forget(wanted)
            erased = erased_ids(store)
            sites = sorted({_site_of(folder) for folder in wanted})
            parts = []
            for folder in sorted(wanted):
                part = self._folder(store, folder, wanted[folder], erased).copy()
                part["site"] = sites.index(_site_of(folder))
                parts.append(part)
            reads = np.concatenate(parts) if parts else np.zeros(0, _DTYPE)
            _add_labels(reads, self._settled(store))
        days = [day.item() for day in np.unique(reads["day"])]
        return Mail(reads, sites, days)

    def _forget(self, wanted: dict[str, Files]) -> None:
        self._folders = {one: read for one, read in self._folders.items() if one in wanted}

    def _folder(
        self, store: Store, folder: str, files: Files, erased: frozenset[str]
    ) -> NDArray[np.void]:
        known = self._folders.get(folder)
        if known is None or known[0] != files:
            keys = [key for key, _, _ in files]
            known = self._folders[folder] = (files, _read(store, keys, folder, erased))
        return known[1]

    def _settled(self, store: Store) -> pd.DataFrame:
        files = tuple(one for name in (LABELS, LABEL_EVENTS, ERASED) for one in
                      _list(store, name))  # fmt: skip
        if self._labels is None or self._labels[0] != files:
            labels = read_labels(store)
            prints = {one: _print(one) for one in labels["read_id"].unique()}
            keys = _keys(labels["read_id"].map(prints), labels["crop_index"])
            frame = labels[["label", "is_audit"]].assign(key=keys)
            frame = frame.sort_values("key", ignore_index=True)
            self._labels = (files, frame)
        return self._labels[1]


def _list(store: Store, name: str) -> list[tuple[str, int, int]]:
    """Every file of a folder of the archive, with size and time of change; one listing."""
    filesystem, root = store.arrow()
    selector = pyarrow.fs.FileSelector(f"{root}/{name}", recursive=True, allow_not_found=True)
    return sorted(
        (info.path.removeprefix(f"{root}/"), info.size, info.mtime_ns or 0)
        for info in filesystem.get_file_info(selector)
        if info.is_file and not info.base_name.startswith(".")
    )


def _day_of(folder: str) -> date:
    return date.fromisoformat(folder.split("/")[1].removeprefix("day="))


def _site_of(folder: str) -> str:
    return unquote(folder.split("/")[2].removeprefix("site="))


def _read(
    store: Store, keys: Sequence[str], folder: str, erased: frozenset[str]
) -> NDArray[np.void]:
    """One site's day, each crop once."""
    table = with_read_ids(open_dataset(store, keys).to_table(columns=_COLUMNS))
    is_bulk = pc.fill_null(table["is_bulk"], False)  # noqa: FBT003 - Arrow's
    table = without_erased(table.filter(pc.invert(is_bulk)), erased)
    read_ids = table["read_id"].to_pylist()
    prints = {one: _print(one) for one in set(read_ids)}
    made = np.zeros(len(table), _DTYPE)
    made["key"] = _keys([prints[one] for one in read_ids], _numbers(table, "crop_index", 0))
    made["day"] = np.datetime64(_day_of(folder))
    made["hour"] = pc.hour(table["time"]).to_numpy()
    made["version"] = table["model_version"].to_pandas().fillna("").to_numpy(str)
    made["digit"] = _numbers(table, "digit", NO_DIGIT)
    made["garbage"] = _numbers(table, "garbage", -np.inf)
    for name in ("confidence", "threshold", "audit_probability"):
        made[name] = _numbers(table, name, 0.0)
    made["accepted"] = pc.fill_null(table["accepted"], False).to_numpy(  # noqa: FBT003 - Arrow's
        zero_copy_only=False
    )
    reason = pc.fill_null(table["rejected_because"], "")
    made["is_held"] = pc.equal(reason, "site_on_hold").to_numpy(zero_copy_only=False)
    once: NDArray[np.void] = made[np.unique(made["key"], return_index=True)[1]]
    return once


def _numbers(table: pa.Table, name: str, missing: float) -> NDArray[np.generic]:
    filled: NDArray[np.generic] = pc.fill_null(table[name], missing).to_numpy()
    return filled


def _print(read_id: str) -> int:
    return int(fingerprint(read_id)[:16], 16)


def _keys(prints: Sequence[int] | pd.Series, indexes: object) -> NDArray[np.uint64]:
    """One number for each crop, by its read's hash and its place."""
    places = np.asarray(indexes).astype(np.uint64)
    keys: NDArray[np.uint64] = np.asarray(prints, np.uint64) + places * _SPREAD
    return keys


def _add_labels(reads: NDArray[np.void], labels: pd.DataFrame) -> None:
    """Put the settled labels beside their crops."""
    if labels.empty or not len(reads):
        return
    known = labels["key"].to_numpy(np.uint64)
    place = np.minimum(np.searchsorted(known, reads["key"]), len(known) - 1)
    has_label = known[place] == reads["key"]
    reads["label"][has_label] = labels["label"].to_numpy(str)[place[has_label]]
    reads["is_audit"][has_label] = labels["is_audit"].to_numpy(bool)[place[has_label]]
