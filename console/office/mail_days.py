"""The reads of the last weeks as arrays of numbers; a folder of the archive is read once.

A folder is read again when its files change: by shipping, compaction or an erasure. Nothing here
holds a picture or an id: a read is known by 8 bytes of its id's hash. Knows nothing about targets.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Final
from urllib.parse import unquote

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.fs
from numpy.typing import NDArray

from capture.archive import ERASED, KEY, LABEL_EVENTS, RECORDS, with_read_ids
from capture.archive import LABELS as OLD_LABELS
from capture.damaged import whole_files
from capture.erasure import erased_ids, fingerprint, without_erased
from capture.label_event import LABELS, UNREADABLE
from capture.labels import read_labels
from capture.sampling import is_mail, open_dataset
from capture.store import Store

NO_DIGIT: Final = -1  # a blank crop
NO_LABEL: Final = -1
UNREADABLE_LABEL: Final = LABELS.index(UNREADABLE)
_SPREAD: Final = np.uint64(0x9E3779B97F4A7C15)  # odd: keys of a read's crops are far apart
_READ_COLUMNS: Final = [
    *("read_id", "request_id", "crop_index", "time", "model_version", "digit", "confidence"),
    *("accepted", "rejected_because", "threshold", "garbage", "audit_probability", "is_bulk"),
]
COLUMNS: Final = np.dtype(
    [
        ("key", np.uint64),
        ("day", "datetime64[D]"),
        ("hour", np.int8),
        ("site", np.int16),  # place in `Mail.sites`
        ("version", np.int16),  # place in `Mail.versions`
        ("digit", np.int8),
        ("confidence", np.float32),
        ("garbage", np.float32),  # -inf: the model has no such output
        ("threshold", np.float32),
        ("accepted", np.bool_),
        ("is_held", np.bool_),  # not accepted because its site was on hold
        ("audit_probability", np.float32),
        ("is_audit", np.bool_),  # its label is an audit's
        ("label", np.int8),  # place in `label_event.LABELS`, of a digit itself; or NO_LABEL
    ]
)
Files = tuple[tuple[str, int, int], ...]  # key, size and time of change


@dataclass(frozen=True, slots=True)
class _Folder:
    """One site's day; the version of a read is a place in `versions`."""

    reads: NDArray[np.void]
    versions: Sequence[str]
    damaged: Sequence[str]  # files that are left out


@dataclass(frozen=True, slots=True)
class Mail:
    """Every captured crop of some days, without bulk requests and synthetic reads."""

    reads: NDArray[np.void]  # of COLUMNS, the oldest day first
    sites: Sequence[str]
    versions: Sequence[str]  # of models
    days: Sequence[date]  # those that have reads
    damaged: Sequence[str] = ()  # files of the archive that were cut, and are left out

    @property
    def damaged_days(self) -> Sequence[date]:
        """The days that lack reads, because a file of theirs is damaged."""
        return sorted({_day_of(key) for key in self.damaged})

    def of_version(self, version: str) -> NDArray[np.void]:
        """The reads that one model answered."""
        if version not in self.versions:
            return self.reads[:0]
        of_model: NDArray[np.void] = self.reads[
            self.reads["version"] == self.versions.index(version)
        ]
        return of_model


class MailReader:
    """Reads the mail of the last days; keeps what it has read until files change."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # two visits at once read once
        self._folders: dict[str, tuple[Files, _Folder]] = {}
        self._labels: tuple[Files, pd.DataFrame] | None = None
        self._mail: tuple[object, Mail] | None = None

    def read(self, store: Store, num_days: int, today: date) -> Mail:
        """The last days up to the newest one that has mail; the same object until files change.

        Args:
            store: the archive; the same one in each call.
            num_days: how many days.
            today: later days but tomorrow are of a service's clock that was wrong.

        Raises:
            StoreError, OSError, ValueError: the archive cannot be read.
        """
        with self._lock:
            folders = _last_days(_list(store, RECORDS), num_days, today)
            said = tuple(one for name in (OLD_LABELS, LABEL_EVENTS, ERASED) for one in
                         _list(store, name))  # fmt: skip
            state = (folders, said)
            if self._mail is None or self._mail[0] != state:
                self._mail = (state, self._join(store, folders, said))
            return self._mail[1]

    def _join(self, store: Store, folders: dict[str, Files], said: Files) -> Mail:
        """Read what has changed, and put all of it together."""
        erased = erased_ids(store)
        known, self._folders = self._folders, {}
        for folder, files in folders.items():
            old = known.get(folder)
            if old is None or old[0] != files:
                old = (files, _read(store, [key for key, _, _ in files], folder, erased))
            self._folders[folder] = old
        if self._labels is None or self._labels[0] != said:
            self._labels = (said, _by_key(read_labels(store)))
        return _together({one: read for one, (_, read) in self._folders.items()}, self._labels[1])


def _last_days(files: Files, num_days: int, today: date) -> dict[str, Files]:
    """Folder of a site's day -> its files, of the last days that end with the newest."""
    found: dict[str, list[tuple[str, int, int]]] = {}
    for file in files:
        if is_mail(file[0]) and file[0].count("/") == 3:
            found.setdefault(file[0].rpartition("/")[0], []).append(file)
    days = {folder: _day_of(folder) for folder in sorted(found)}
    days = {folder: day for folder, day in days.items() if (day - today).days <= 1}
    newest = max(days.values(), default=date.min)
    return {
        folder: tuple(found[folder])
        for folder, day in days.items()
        if (newest - day).days < num_days
    }


def _together(folders: dict[str, _Folder], labels: pd.DataFrame) -> Mail:
    sites = sorted({_site_of(folder) for folder in folders})
    versions = sorted({one for read in folders.values() for one in read.versions})
    parts = []
    for folder, read in folders.items():
        part = read.reads.copy()
        part["site"] = sites.index(_site_of(folder))
        places = np.array([versions.index(one) for one in read.versions], np.int16)
        part["version"] = places[part["version"]]
        parts.append(part)
    reads = np.concatenate(parts) if parts else np.zeros(0, COLUMNS)
    _add_labels(reads, labels)
    days = [day.item() for day in np.unique(reads["day"])]
    return Mail(
        reads, sites, versions, days, [key for one in folders.values() for key in one.damaged]
    )


def _list(store: Store, name: str) -> Files:
    """Every file of a folder of the archive, with size and time of change; one listing."""
    filesystem, root = store.arrow()
    selector = pyarrow.fs.FileSelector(f"{root}/{name}", recursive=True, allow_not_found=True)
    return tuple(
        sorted(
            (info.path.removeprefix(f"{root}/"), info.size, info.mtime_ns or 0)
            for info in filesystem.get_file_info(selector)
            if info.is_file and not info.base_name.startswith(".")
        )
    )


def _day_of(folder: str) -> date:
    return date.fromisoformat(folder.split("/")[1].removeprefix("day="))


def _site_of(folder: str) -> str:
    return unquote(folder.split("/")[2].removeprefix("site="))


def _read(store: Store, keys: Sequence[str], folder: str, erased: frozenset[str]) -> _Folder:
    """One site's day, each crop once."""
    whole = whole_files(store, keys)
    table = with_read_ids(open_dataset(store, whole).to_table(columns=_READ_COLUMNS))
    is_bulk = pc.fill_null(table["is_bulk"], False)  # noqa: FBT003 - Arrow's
    table = without_erased(table.filter(pc.invert(is_bulk)), erased)
    read_ids = table["read_id"].to_pylist()
    prints = {one: _print(one) for one in set(read_ids)}
    made = np.zeros(len(table), COLUMNS)
    made["key"] = _keys([prints[one] for one in read_ids], _numbers(table, "crop_index", 0))
    made["day"] = np.datetime64(_day_of(folder))
    made["hour"] = pc.hour(table["time"]).to_numpy()
    versions, made["version"] = np.unique(
        pc.fill_null(table["model_version"], "").to_numpy().astype(str), return_inverse=True
    )
    made["digit"] = _numbers(table, "digit", NO_DIGIT)
    made["garbage"] = _numbers(table, "garbage", -np.inf)
    for name in ("confidence", "threshold", "audit_probability"):
        made[name] = _numbers(table, name, 0.0)
    made["accepted"] = pc.fill_null(table["accepted"], False).to_numpy(  # noqa: FBT003 - Arrow's
        zero_copy_only=False
    )
    reason = pc.fill_null(table["rejected_because"], "")
    made["is_held"] = pc.equal(reason, "site_on_hold").to_numpy(zero_copy_only=False)
    once = np.unique(made["key"], return_index=True)[1]  # shipping is at least once
    damaged = sorted(set(keys) - set(whole))
    return _Folder(made[once], versions.tolist(), damaged)


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


def _by_key(labels: pd.DataFrame) -> pd.DataFrame:
    """The settled labels by the key of their crop."""
    prints = [_print(one) for one in labels[KEY[0]]]
    keys = _keys(prints, labels[KEY[1]])
    codes = [LABELS.index(one) for one in labels["label"]]
    frame = pd.DataFrame({"key": keys, "label": codes, "is_audit": labels["is_audit"]})
    return frame.sort_values("key", ignore_index=True)


def _add_labels(reads: NDArray[np.void], labels: pd.DataFrame) -> None:
    """Put the settled labels beside their crops."""
    reads["label"] = NO_LABEL
    if labels.empty or not len(reads):
        return
    known = labels["key"].to_numpy(np.uint64)
    place = np.minimum(np.searchsorted(known, reads["key"]), len(known) - 1)
    has_label = known[place] == reads["key"]
    reads["label"][has_label] = labels["label"].to_numpy(np.int8)[place[has_label]]
    reads["is_audit"][has_label] = labels["is_audit"].to_numpy(bool)[place[has_label]]
