"""The captured crops of one read -> the letter that people are asked about, if they are. Pure.

Asked are the crops that the machine rejected, also those of a site on hold, and those that the
audit has marked; of a postcode that was rejected although each digit was accepted, all. A letter
with a marked crop is asked whole, and so is a share of the others: nothing tells them apart. Of a
bulk request, which no letter waits for, only marked crops are asked.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Final

from capture.label_event import AUDIT
from capture.sampling import SYNTHETIC_SITE
from serving.api.codes import MAX_DIGITS, MIN_DIGITS, Postcodes, decide_code

KEYED: Final = "keyed"
# Of the letters without a marked crop: cover for those with one. Each costs the keys of the
# digits that the machine has read; a share that is a few times the audit's is enough.
_WHOLE_FRAC: Final = 0.05
_HASH_BYTES: Final = 8


@dataclass(frozen=True, slots=True)
class SeenCrop:
    """What the spool or the archive has of one crop."""

    read_id: str
    crop_index: int
    site: str
    time_us: int
    deadline_us: int | None
    digit: int | None
    is_accepted: bool
    is_marked: bool  # for the audit
    is_bulk: bool
    rejected_because: str | None
    probs: tuple[float, ...] | None  # of the ten digits; None: blank
    threshold: float
    picture: Callable[[], tuple[bytes, int, int] | None]  # PNG, width, height; None: not kept


@dataclass(frozen=True, slots=True)
class FoundCrop:
    """A crop of a letter."""

    crop_index: int
    digit: str | None
    how: str | None  # of its labels; None: nobody is asked
    picture: bytes
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class FoundLetter:
    """A letter that people are asked about."""

    read_id: str
    site: str
    time_us: int
    deadline_us: int | None
    crops: tuple[FoundCrop, ...]


def choose_letter(
    seen: Sequence[SeenCrop],
    directory: Postcodes | None = None,
    requested: Collection[int] = (),
) -> FoundLetter | None:
    """The letter of a read; None if nobody is asked.

    Args:
        seen: all crops of one read that are known.
        directory: of valid codes, where one is in force.
        requested: indices of those that an analyst wants labelled.
    """
    crops = sorted({one.crop_index: one for one in seen}.values(), key=lambda one: one.crop_index)
    if crops[0].is_bulk:
        crops = [one for one in crops if one.is_marked]
    if not crops or crops[0].site == SYNTHETIC_SITE:
        return None
    asked = [
        one for one in crops if one.is_marked or not one.is_accepted or one.crop_index in requested
    ]
    if not asked and _is_rejected_code(crops, directory):
        asked = crops
    if not asked:
        return None
    is_whole = any(one.is_marked for one in crops) or _share(crops[0].read_id) < _WHOLE_FRAC
    found = []
    for one in crops:
        picture = one.picture()
        if picture is None:
            continue
        is_asked = is_whole or one in asked
        how = AUDIT if one.is_marked else KEYED if is_asked else None
        digit = None if one.digit is None else str(one.digit)
        found.append(FoundCrop(one.crop_index, digit, how, *picture))
    if not any(one.how for one in found):
        return None
    times = [one.deadline_us for one in crops if one.deadline_us is not None]
    first = crops[0]
    return FoundLetter(
        first.read_id, first.site, min(one.time_us for one in crops), min(times, default=None),
        tuple(found),
    )  # fmt: skip


def _is_rejected_code(crops: Sequence[SeenCrop], directory: Postcodes | None) -> bool:
    """Whether the service has rejected these accepted digits as a postcode.

    A pattern of the caller is not in the record, so codes that it alone rejects are not found.
    """
    is_whole = [one.crop_index for one in crops] == list(range(len(crops)))
    if not is_whole or not MIN_DIGITS <= len(crops) <= MAX_DIGITS:
        return False
    decided = decide_code(
        [one.probs for one in crops],
        [one.rejected_because for one in crops],
        crops[0].threshold,
        valid=directory,
    )
    return decided.rejected_because is not None


def _share(read_id: str) -> float:
    """Hash a read to [0, 1)."""
    digest = hashlib.blake2b(
        read_id.encode(), digest_size=_HASH_BYTES, person=b"whole letter"
    ).digest()
    return (int.from_bytes(digest, "big") >> 11) / 2**53
