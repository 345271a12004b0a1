"""The archive by day and site, without reading it whole: what was read of a file is kept.

A read that was erased is left out of every answer, whatever is kept.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from typing import Final

import pandas as pd
import pyarrow.dataset as ds

from capture.archive import ERASED, KEY, LABEL_EVENTS, LABELS, RECORDS, partition, with_read_ids
from capture.erasure import erased_ids, fingerprint
from capture.labels import read_labels
from capture.sampling import has_read_id, is_mail, open_dataset
from capture.store import MissingKey, Store
from console.drift.kept import Kept
from monitoring import audits
from monitoring.audits import AuditEstimate
from monitoring.drift import CAPTURE_COLUMNS

Crop = tuple[str, int]  # read_id, crop_index

_BRIEF: Final = ("time", "digit", "confidence", "accepted", "rejected_because")
_MARK: Final = ("digit", "audit_probability")
_ASK: Final = ("audit_probability", "is_bulk", "ink_mass", "height_px")
_LIST_THREADS: Final = 8
_MOST_MONTHS_DAYS: Final = 100
_MOST_SITE_DAYS: Final = 200
_MOST_WIDE_DAYS: Final = 24  # with every feature: some MB each
_MOST_SHOWN: Final = 100  # of a site's day, at once
_MOST_PICTURES: Final = 4_000  # of one or two kB


class CapturedDays:
    """Reads of the archive.

    Args:
        archive: the store with the captured records.
    """

    def __init__(self, archive: Store) -> None:
        self._archive = archive
        self._marks: Kept[pd.DataFrame] = Kept(_MOST_MONTHS_DAYS)
        self._labels: Kept[pd.DataFrame] = Kept(1)
        self._estimates: Kept[dict[str, AuditEstimate]] = Kept(_MOST_SITE_DAYS)
        self._brief: Kept[pd.DataFrame] = Kept(_MOST_SITE_DAYS)
        self._wide: Kept[pd.DataFrame] = Kept(_MOST_WIDE_DAYS)
        self._pictures: Kept[bytes | None] = Kept(_MOST_PICTURES)
        self._shown: dict[tuple[str, date], Sequence[Crop]] = {}
        self._reading = threading.Lock()

    def marked(self, days: Sequence[date]) -> pd.DataFrame:
        """Every read that is marked for the audit, with its label, as `audits.estimate` needs it.

        Adds the columns `site` and `day`.
        """
        tables = [self._marks_of(day, files) for day, files in self._list(days).items()]
        rows = pd.concat([table for table in tables if len(table)] or [pd.DataFrame()])
        if rows.empty:
            return pd.DataFrame(columns=[*KEY, *_MARK, "site", "day", "label", "is_audit"])
        rows = self._without_erased(rows).merge(self.labels(), on=KEY, how="left")
        return rows.reset_index(drop=True)

    def estimates(self, days: Sequence[date]) -> dict[str, AuditEstimate]:
        """Wrong among accepted at each site, by the audit of some days."""
        files = tuple(item for found in self._list(days).values() for item in found.items())
        version = (files, self._labels_version(), erased_ids(self._archive))
        return self._estimates.get(
            tuple(days),
            version,
            lambda: {one.site: one for one in audits.estimate(self.marked(days)) if one.site},
        )

    def labels(self) -> pd.DataFrame:
        """The label of each crop where it is settled."""
        rows = self._labels.get(
            "labels", self._labels_version(), lambda: read_labels(self._archive)
        )
        return self._without_erased(rows)

    def _labels_version(self) -> tuple[tuple[str, str], ...]:
        return tuple(
            item
            for prefix in (LABELS, LABEL_EVENTS)
            for item in self._archive.versions(f"{prefix}/").items()
        )

    def brief(self, site: str, day: date) -> pd.DataFrame:
        """A site's reads of a day, oldest first: their answers."""
        return self._of_site(self._brief, site, day, _BRIEF)

    def wide(self, site: str, day: date) -> pd.DataFrame:
        """The same with every feature, as `drift.prepare` needs it."""
        columns = tuple(dict.fromkeys((*CAPTURE_COLUMNS, *_ASK, "sample_key")))
        return self._of_site(self._wide, site, day, columns)

    def show(self, site: str, day: date, crops: Sequence[Crop]) -> None:
        """Say which crops a page shows: the first picture that is asked for reads all of them."""
        if len(self._shown) > _MOST_SITE_DAYS:
            self._shown.clear()
        shown = dict.fromkeys((*crops, *self._shown.get((site, day), ())))
        self._shown[(site, day)] = tuple(shown)[:_MOST_SHOWN]

    def picture(self, site: str, day: date, crop: Crop) -> bytes | None:
        """A crop as sent, or what the model saw of it; None: erased, expired or not captured."""
        if self._is_erased(crop[0]):
            return None
        # One reader at a time: the others find what it has read.
        with self._reading:
            return self._pictures.get(crop, "", lambda: self._read_pictures(site, day, crop))

    def _read_pictures(self, site: str, day: date, crop: Crop) -> bytes | None:
        wanted = {crop, *self._shown.get((site, day), ())}
        dataset = open_dataset(self._archive, list(self._files(site, day)))
        table = dataset.to_table(
            columns=[*KEY, "request_id", "image_png", "crop_png"],
            filter=has_read_id([read_id for read_id, _ in wanted]),
        )
        found: dict[Crop, bytes | None] = {}
        for row in with_read_ids(table).to_pylist():
            found[(row["read_id"], row["crop_index"])] = row["crop_png"] or row["image_png"]
        for one in found.keys() & wanted - {crop}:
            self._pictures.get(one, "", lambda one=one: found[one])  # type: ignore[misc]
        return found.get(crop)

    def _files(self, site: str, day: date) -> dict[str, str]:
        try:
            return self._archive.versions(f"{partition(day.isoformat(), site)}/")
        except ValueError:  # no folder can have this name
            return {}

    def _of_site(
        self, kept: Kept[pd.DataFrame], site: str, day: date, columns: Sequence[str]
    ) -> pd.DataFrame:
        files = self._files(site, day)

        def read() -> pd.DataFrame:
            wanted = [*KEY, "request_id", *columns]
            table = open_dataset(self._archive, list(files)).to_table(columns=wanted)
            rows = with_read_ids(table).to_pandas().drop_duplicates(KEY)
            return rows.sort_values("time", ignore_index=True).assign(site=site)

        return self._without_erased(kept.get((site, day), tuple(files.items()), read))

    def _list(self, days: Sequence[date]) -> dict[date, dict[str, str]]:
        """The files of mail of some days, with their versions."""

        def list_one(day: date) -> dict[str, str]:
            found = self._archive.versions(f"{RECORDS}/day={day}/")
            return {key: version for key, version in found.items() if is_mail(key)}

        with ThreadPoolExecutor(_LIST_THREADS) as threads:  # a bucket answers in tens of ms
            return dict(zip(days, threads.map(list_one, days), strict=True))

    def _marks_of(self, day: date, files: Mapping[str, str]) -> pd.DataFrame:
        def read() -> pd.DataFrame:
            table = open_dataset(self._archive, list(files)).to_table(
                columns=[*KEY, "request_id", *_MARK, "site"],
                filter=ds.field("audit_probability") > 0,
            )
            rows = with_read_ids(table).to_pandas().drop_duplicates(KEY)
            rows["digit"] = rows["digit"].map(
                lambda digit: None if pd.isna(digit) else str(int(digit))
            )
            return rows.drop(columns="request_id").assign(day=day)

        return self._marks.get(day, tuple(files.items()), read)

    def _without_erased(self, rows: pd.DataFrame) -> pd.DataFrame:
        erased = erased_ids(self._archive)
        if not erased or rows.empty:
            return rows
        is_erased = [fingerprint(read_id) in erased for read_id in rows["read_id"]]
        return rows[[not one for one in is_erased]]

    def _is_erased(self, read_id: str) -> bool:
        try:
            self._archive.get(f"{ERASED}/{fingerprint(read_id)}")
        except MissingKey:
            return False
        return True
