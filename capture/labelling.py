"""Truth from a CSV file -> labels of captured reads.

A request id is taken where it names one read. Knows nothing about CSV.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from capture.labels import add_labels
from capture.look_up import AmbiguousId, Read, choose, find_in_archive
from capture.store import Store
from capture.truth_csv import Truth, TruthError


@dataclass(frozen=True, slots=True)
class Stored:
    """Where labels were stored, and how many name no read that is in the archive."""

    key: str
    num_labels: int
    num_unknown: int


def store_truth(store: Store, truths: Sequence[Truth]) -> Stored:
    """Store all labels, or none where a request id names several reads.

    An id that names no read of the archive is stored as a read id: its read may not be captured,
    or not be shipped yet.

    Raises:
        TruthError: a request id names several reads, or two rows disagree about a crop.
        StoreError, OSError: the archive cannot be read or written.
    """
    ids = sorted({truth.read_id or truth.request_id for truth in truths})
    reads_of: dict[str, list[Read]] = defaultdict(list)
    for read in find_in_archive(store, ids):
        for name in {read.read_id, read.request_id}:
            reads_of[name].append(read)
    found: dict[tuple[str, int], Truth] = {}
    mistakes: list[str] = []
    num_unknown = 0
    for truth in truths:
        try:
            read_id = _read_id_of(truth, reads_of)
        except TruthError as error:
            mistakes.append(str(error))
            continue
        num_unknown += read_id is None
        key = (read_id or truth.read_id or truth.request_id, truth.crop_index)
        first = found.setdefault(key, truth)
        if first.label != truth.label:
            mistakes.append(
                f"line {truth.line}: label {truth.label}, but line {first.line} says {first.label} "
                f"of the same crop of read {key[0]}; keep one of them"
            )
    if mistakes:
        raise TruthError(mistakes)
    rows = [(read_id, index, truth.label) for (read_id, index), truth in found.items()]
    table = pd.DataFrame(rows, columns=["read_id", "crop_index", "label"])
    return Stored(add_labels(store, table), len(table), num_unknown)


def _read_id_of(truth: Truth, reads_of: dict[str, list[Read]]) -> str | None:
    """The read of the archive that a row names; None if it names none."""
    given = truth.read_id or truth.request_id
    reads = reads_of.get(given, [])
    # The column decides: a caller may have sent another read's read_id as its request_id.
    if truth.read_id:
        reads = [read for read in reads if read.read_id == given]
    else:
        reads = _with_request_id(truth, reads)
    site = truth.site or None
    try:
        chosen = choose(reads, given, site)
    except AmbiguousId as error:
        raise TruthError([f"line {truth.line}: {error}:", *_listed(error.reads)]) from None
    if chosen is None and reads:
        raise TruthError(
            [f"line {truth.line}: {given!r} names no read of site {site!r}, but:", *_listed(reads)]
        )
    return None if chosen is None else chosen.read_id


def _with_request_id(truth: Truth, reads: Sequence[Read]) -> list[Read]:
    found = [read for read in reads if read.request_id == truth.request_id]
    if reads and not found:
        said = (
            f"line {truth.line}: {truth.request_id!r} is a read_id and no request_id; if this is "
            "the read that is meant, write it in the column read_id:"
        )
        raise TruthError([said, *_listed(reads)])
    return found


def _listed(reads: Sequence[Read]) -> list[str]:
    return [f"  {read}" for read in reads]
