"""Labelled crops from elsewhere, which join the next snapshot: `training data add`.

    added/NAME/crops.parquet   rows of a snapshot
    added/NAME/manifest.json   written last, once: when they were added, and their hash

A crop goes through the same decoding and framing as one that is posted. Edge: reads files, reads
and writes the data store.
"""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from capture.archive import PARQUET
from capture.record import to_uint8
from capture.rows import to_png
from capture.snapshot_files import CAPTURES, JSON, SCHEMA, encode_rows, sha256
from capture.store import KeyTaken, Store
from model.decode import decode
from model.errors import CropError
from model.preprocess import preprocess
from training.data.mnist_files import DataError

ADDED: Final = "added"
SUFFIXES: Final = (".png", ".jpg", ".jpeg")
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
_SHOWN: Final = 20  # bad crops that an error names
_FORMS: Final = (
    "give a folder with sub-folders 0 to 9 of PNG or JPEG crops, an .npz file with `images` "
    "(N, H, W) uint8 and `labels` (N,), or a Parquet file with columns `png` and `label`"
)


@dataclass(frozen=True, slots=True)
class AddedSet:
    """What was added under one name."""

    name: str
    site: str
    added_at: datetime
    num: int
    sha256: str
    rows: pa.Table


@dataclass(frozen=True, slots=True)
class _Given:
    """One crop of a file: its place, its bytes or pixels, its label as written."""

    place: str
    crop: bytes | NDArray[np.uint8] | None
    label: object


def add(data: Store, path: Path, *, name: str, site: str, now: datetime) -> AddedSet:
    """Add labelled crops to the data store, all or none.

    Args:
        data: the data store.
        path: a folder, an .npz or a Parquet file.
        name: what the set is called; it is each row's source.
        site: the office that the crops come from; "" is the name.
        now: with a time zone; the set joins the snapshots of this month and later.

    Raises:
        DataError: a crop or a label cannot be used (each is named), or the name is taken.
        StoreError: the store failed.
    """
    if not _NAME.fullmatch(name) or name == CAPTURES:
        raise DataError(
            f"{name!r} cannot be a name; use 1 to 63 of a-z, 0-9, '.', '_' and '-', and not "
            f"{CAPTURES!r}"
        )
    rows = _rows(list(_read(path)), path, name=name, site=site or name, now=now)
    crops = encode_rows(rows)
    manifest = {
        "name": name,
        "site": site or name,
        "added_at": now.isoformat(timespec="seconds"),
        "rows": rows.num_rows,
        "sha256": sha256(crops),
    }
    if f"{ADDED}/{name}/manifest.json" in data.find(f"{ADDED}/{name}/"):
        raise _taken(name)
    data.put(f"{ADDED}/{name}/crops.parquet", crops, content_type=PARQUET)
    content = (json.dumps(manifest, indent=1) + "\n").encode()
    try:
        data.put_new(f"{ADDED}/{name}/manifest.json", content, content_type=JSON)
    except KeyTaken as error:
        raise _taken(name) from error
    return _set(manifest, rows)


def _taken(name: str) -> DataError:
    return DataError(f"a set {name!r} is there already; choose another --name, or remove it first")


def read_added(data: Store, until: datetime) -> list[AddedSet]:
    """The sets that were added before a moment, by name.

    Raises:
        DataError: a set's file is not the one that was added.
        StoreError: the store failed.
    """
    found = []
    for key in data.find(f"{ADDED}/"):
        if not key.endswith("/manifest.json"):
            continue
        manifest = json.loads(data.get(key))
        if datetime.fromisoformat(manifest["added_at"]) >= until:
            continue
        crops = data.get(f"{ADDED}/{manifest['name']}/crops.parquet")
        if sha256(crops) != manifest["sha256"]:
            raise DataError(f"the added set {manifest['name']} is damaged; remove and add it again")
        found.append(_set(manifest, pq.read_table(pa.BufferReader(crops))))
    return found


def remove(data: Store, name: str) -> int:
    """Delete an added set; returns the number of its files. Raises StoreError."""
    keys = [key for key in data.find(f"{ADDED}/") if key.split("/")[1] == name]
    data.delete(keys)
    return len(keys)


def _set(manifest: dict[str, Any], rows: pa.Table) -> AddedSet:
    when = datetime.fromisoformat(manifest["added_at"])
    return AddedSet(
        manifest["name"], manifest["site"], when, manifest["rows"], manifest["sha256"], rows
    )


def _read(path: Path) -> Iterator[_Given]:
    try:
        if path.is_dir():
            yield from _read_folder(path)
        elif path.suffix == ".npz":
            yield from _read_npz(path)
        elif path.suffix == ".parquet":
            yield from _read_parquet(path)
        else:
            raise DataError(f"{path} is none of these; {_FORMS}")
    except (KeyError, ValueError, OSError, zipfile.BadZipFile) as error:
        raise DataError(f"cannot read {path}: {error}; {_FORMS}") from error


def _read_folder(path: Path) -> Iterator[_Given]:
    for folder in sorted(one for one in path.iterdir() if one.is_dir()):
        for file in sorted(folder.iterdir()):
            if file.suffix.lower() in SUFFIXES:
                yield _Given(str(file), file.read_bytes(), folder.name)


def _read_npz(path: Path) -> Iterator[_Given]:
    with np.load(path, allow_pickle=False) as saved:
        images, labels = saved["images"], saved["labels"]
    if images.ndim != 3 or labels.shape != images.shape[:1] or images.dtype != np.uint8:
        raise ValueError(f"images are {images.dtype} {images.shape}, labels {labels.shape}")
    for row, (image, label) in enumerate(zip(images, labels, strict=True)):
        yield _Given(f"{path}, row {row}", image, label)


def _read_parquet(path: Path) -> Iterator[_Given]:
    table = pq.read_table(path, columns=["png", "label"])
    pairs = zip(table["png"].to_pylist(), table["label"].to_pylist(), strict=True)
    for row, (png, label) in enumerate(pairs):
        yield _Given(f"{path}, row {row}", png, label)


def _rows(given: list[_Given], path: Path, *, name: str, site: str, now: datetime) -> pa.Table:
    rows, bad = [], []
    for number, one in enumerate(given):
        try:
            crop = _crop(one)
            image = to_uint8(preprocess(crop))
            label = _label(one.label)
        except (CropError, ValueError) as error:
            bad.append(f"{one.place}: {error}")
            continue
        rows.append(("", number, to_png(crop), to_png(image), label, site, name, "import", "", 1.0))
    if bad:
        more = f"\nand {len(bad) - _SHOWN} more" if len(bad) > _SHOWN else ""
        listed = "\n".join(bad[:_SHOWN])
        raise DataError(
            f"nothing is added, {len(bad)} of {len(given)} crops cannot be used; correct or remove "
            f"them:\n{listed}{more}"
        )
    if not rows:
        raise DataError(f"{path} has no crops; {_FORMS}")
    columns = [*zip(*rows, strict=True), [now] * len(rows)]
    return pa.table(
        [pa.array(column, field.type) for column, field in zip(columns, SCHEMA, strict=True)],
        schema=SCHEMA,
    )


def _crop(one: _Given) -> NDArray[np.uint8]:
    if one.crop is None:
        raise ValueError("no crop")
    return one.crop if isinstance(one.crop, np.ndarray) else decode(one.crop)


def _label(given: object) -> int:
    text = str(given)
    if text not in [*map(str, range(10))]:
        raise ValueError(f"label {text}; labels are 0 to 9")
    return int(text)
