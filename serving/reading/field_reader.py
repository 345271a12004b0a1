"""The image of a whole field -> its digits and its code.

A field takes as long as a hundred crops. So it is decoded, split and decided beside the model, one
field at a time, in the turn and at the charge of its sender. Only its candidate digits go to the
model, in batches with other crops: first the parts of ink that do not touch, then, where these do
not settle the code, what they can be cut into. They leave no record; the digits that were chosen
do, as crops.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.components import connected_parts
from model.decision import BLANK
from model.decode import decode
from model.errors import BlankCrop, CropError
from model.field import (
    FieldDigit,
    FieldParts,
    FieldReading,
    Lattice,
    NoDigits,
    Possible,
    TooManyPieces,
    cut_apart,
    find_uncut,
    read_field,
    split_field,
)
from model.framed import Framed
from model.preprocess import FAINT_INK
from serving.messages import Reading, Request
from serving.reading.batch_reading import ReadRequest
from serving.reading.crop_cost import CROP_S, split_s
from serving.reading.outcomes import without_frames
from serving.reading.reader import Reader, without_large_crop

_DECIDE_S: Final = 0.006  # predicted, to find the most probable code
_MIN_MARGIN_PX: Final = 2
_LOOK_STEP_PX: Final = 4
_MARGIN_FRAC: Final = 0.1  # of a digit's height, around it in the crop that is recorded
_LEVELS: Final = np.float32(255)  # of a recorded image


@dataclass(frozen=True, slots=True)
class FieldQuery:
    """Which codes a field may show."""

    num_digits: tuple[int, int]  # least and most
    possible: Possible | None  # which prefixes of a code are; None: all
    matches: Callable[[str], bool] | None  # which whole codes are; None: all


class FieldRead(NamedTuple):
    """What was read in a field, and what is recorded of it."""

    code: FieldReading
    detail: str | None  # why there is no code, in words; None: there may be one
    # Of the digits of `code`; where it has none, one for the whole field.
    readings: Sequence[Reading]


class _Split(NamedTuple):
    """A field before its candidate digits are read."""

    field: NDArray[np.uint8]  # (H, W)
    parts: FieldParts | CropError  # the error: it has no digits
    decode_ms: float
    split_ms: float


class _Cut(NamedTuple):
    """The pieces of a field that are read next."""

    lattice: Lattice
    is_single: tuple[bool, ...] | None  # the parts that stay whole; None: all
    cut_ms: float


class FieldReader:
    """Reads fields.

    Args:
        reader: reads the candidate digits, and has the turns.
    """

    def __init__(self, reader: Reader) -> None:
        self.reader = reader

    async def read(
        self, source: bytes, request: Request, query: FieldQuery, *, is_mail: bool = True
    ) -> FieldRead:
        """Read one field.

        Args:
            source: a PNG or JPEG file.
            request: that it came with.
            query: which codes it may show.
            is_mail: false: it leaves no record.

        Raises:
            CropError: the file cannot be read.
            Overloaded: the answer would be too late.
            ModelError: the model failed.
            SpoolError, RecordError: a record could not be written.
            Exception: what `query.matches` raises.
        """
        split = await self.reader.beside(
            partial(_split, source, query.num_digits[1]),
            request,
            split_s(source),
            is_admitted=False,
        )
        if isinstance(split.parts, CropError):
            read = _without_digits(split, split.parts)
        else:
            read = await self._read_parts(split, split.parts, request, query)
        return await self._recorded(read, source, request) if is_mail else read

    async def _read_parts(
        self, split: _Split, parts: FieldParts, request: Request, query: FieldQuery
    ) -> FieldRead:
        found: FieldRead | _Cut = _Cut(parts.whole, None, 0.0)
        known: dict[bytes, Reading] = {}
        while isinstance(found, _Cut):
            split = split._replace(split_ms=split.split_ms + found.cut_ms)
            pieces = await self._read_pieces(found.lattice, request, known)
            images = [image.tobytes() for image in found.lattice.images]
            known.update(zip(images, pieces, strict=True))
            decide = partial(_decide_or_cut, split, parts, found, pieces, request, query)
            found = await self.reader.beside(decide, request, _DECIDE_S, is_admitted=True)
        return found

    async def _read_pieces(
        self, lattice: Lattice, request: Request, known: dict[bytes, Reading]
    ) -> list[Reading]:
        """Read the pieces whose images are not known yet."""
        found = [known.get(image.tobytes()) for image in lattice.images]
        new = [image for image, one in zip(lattice.images, found, strict=True) if one is None]
        scores = iter(await self.reader.read_many(new, request, is_mail=False) if new else [])
        # A framed image has no error.
        return [
            one
            for one in (next(scores) if one is None else one for one in found)
            if isinstance(one, Reading)
        ]

    async def _recorded(self, read: FieldRead, source: bytes, request: Request) -> FieldRead:
        """Record the digits; the field is not accepted where its site is on hold."""
        requests = [
            ReadRequest(
                source if one.crop is None or not read.code.digits else one.crop,
                request,
                place,
                request.model,
                is_field=True,
            )
            for place, one in enumerate(read.readings)
        ]
        outcomes = await self.reader.in_turn(
            partial(self.reader.persisted, requests, list(read.readings)),
            request,
            len(requests) * CROP_S,
            is_admitted=True,
        )
        readings = []
        for outcome in outcomes:
            if isinstance(outcome, Exception):
                try:
                    raise outcome
                finally:
                    del outcome, outcomes  # its traceback refers to this frame: leave no cycle
            readings.append(without_large_crop(outcome))
        return _held_as_one(read._replace(readings=readings))


def _split(source: bytes, max_digits: int) -> _Split:
    """Decode a field and split it. Runs beside the model."""
    started = time.perf_counter()
    field = decode(source)
    decoded = time.perf_counter()
    found: FieldParts | CropError
    try:
        parts = split_field(field, max_digits)
        found = replace(parts, whole=_as_recorded(parts.whole))
    except (BlankCrop, NoDigits, TooManyPieces) as error:
        found = without_frames(error)
    split_ms = (time.perf_counter() - decoded) * 1e3
    return _Split(field, found, (decoded - started) * 1e3, split_ms)


def _as_recorded(lattice: Lattice) -> Lattice:
    """With images as records have them, so that a recorded one gives the same answer to the bit."""
    return replace(lattice, images=np.rint(lattice.images * _LEVELS) / _LEVELS)


def _without_digits(split: _Split, error: CropError) -> FieldRead:
    is_blank = isinstance(error, BlankCrop)
    code = FieldReading((), (), 0.0, "blank" if is_blank else "no_code")
    return FieldRead(code, str(error), [_whole(split, is_blank=is_blank)])


def _decide_or_cut(
    split: _Split,
    parts: FieldParts,
    cut: _Cut,
    pieces: Sequence[Reading],
    request: Request,
    query: FieldQuery,
) -> FieldRead | _Cut:
    """Find the code of the pieces; cut parts where it is not final. Runs beside the model."""
    started = time.perf_counter()
    code = _find_code(cut.lattice, pieces, request, query)
    decided = time.perf_counter()
    is_single = find_uncut(
        parts,
        code,
        np.array([one.garbage for one in pieces]),
        cut.is_single,
        least_digits=query.num_digits[0],
        garbage_threshold=request.model.policy.garbage_threshold,
    )
    if is_single is not None:
        lattice = _as_recorded(cut_apart(parts, is_single))
        return _Cut(lattice, is_single, (time.perf_counter() - started) * 1e3)
    if not code.digits:
        least, most = query.num_digits
        number = f"{least}" if least == most else f"{least} to {most}"
        detail = f"the ink cannot be divided into {number} digits"
        return FieldRead(code, detail, [_whole(split, is_blank=False)])
    return _field_read(split, code, pieces, (decided - started) * 1e3)


def _find_code(
    lattice: Lattice, pieces: Sequence[Reading], request: Request, query: FieldQuery
) -> FieldReading:
    policy = request.model.policy
    return read_field(
        lattice,
        np.array([one.decision.probs for one in pieces]),
        np.array([one.garbage for one in pieces]),
        num_digits=query.num_digits,
        possible=query.possible,
        matches=query.matches,
        threshold=policy.threshold,
        garbage_threshold=policy.garbage_threshold,
    )


def _field_read(
    split: _Split, code: FieldReading, pieces: Sequence[Reading], decide_ms: float
) -> FieldRead:
    is_inverted = _is_inverted(split.field)
    readings = [
        _reading(split, one, pieces[one.piece], is_inverted=is_inverted, decide_ms=decide_ms)
        for one in code.digits
    ]
    if code.rejected_because is not None:
        readings = [_of_rejected_code(one) for one in readings]
    return _held_as_one(FieldRead(code, None, readings))


def _reading(
    split: _Split, digit: FieldDigit, piece: Reading, *, is_inverted: bool, decide_ms: float
) -> Reading:
    """A digit of a code, as if its crop had been sent."""
    assert piece.image is not None
    left, top, width, height = digit.box
    field_height, field_width = split.field.shape
    margin = max(_MIN_MARGIN_PX, round(height * _MARGIN_FRAC))
    rows = slice(max(top - margin, 0), top + height + margin)
    columns = slice(max(left - margin, 0), left + width + margin)
    touched = (top <= 0, left <= 0, top + height >= field_height, left + width >= field_width)
    framed = Framed(
        image=piece.image,
        inverted=is_inverted,
        passed_through=False,
        num_parts=len(connected_parts(piece.image[0] > FAINT_INK)),
        num_dropped=0,
        aspect=width / height,
        edges_touched=sum(touched),
    )
    return piece._replace(
        crop=split.field[rows, columns].copy(),
        framed=framed,
        decode_ms=split.decode_ms,
        preprocess_ms=split.split_ms,
        decision_ms=piece.decision_ms + decide_ms,
    )


def _whole(split: _Split, *, is_blank: bool) -> Reading:
    """A field without digits, as one crop, so that a person gets it."""
    return Reading(
        crop=split.field,
        framed=None,
        image=None,
        decision=BLANK if is_blank else BLANK._replace(rejected_because="not_a_digit"),
        garbage=-math.inf,
        decode_ms=split.decode_ms,
        preprocess_ms=split.split_ms,
        inference_ms=0.0,
        decision_ms=0.0,
    )


def _is_inverted(field: NDArray[np.uint8]) -> bool:
    """Whether most of the field is dark, so that its ink is light."""
    some = field[::_LOOK_STEP_PX, ::_LOOK_STEP_PX]
    return 2 * float(np.median(some)) < float(some.min()) + float(some.max())


def _of_rejected_code(reading: Reading) -> Reading:
    """Not accepted: a digit of a field is no better than the code that it was found in."""
    if not reading.decision.accepted:
        return reading
    return reading._replace(decision=reading.decision._replace(rejected_because="code_rejected"))


def _held_as_one(read: FieldRead) -> FieldRead:
    """Not accepted if the site was on hold at any time."""
    if all(one.decision.rejected_because != "site_on_hold" for one in read.readings):
        return read
    return read._replace(code=replace(read.code, rejected_because="site_on_hold"))
