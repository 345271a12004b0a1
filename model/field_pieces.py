"""A field -> its segments -> the pieces that may be digits."""

from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from model.components import ink_bounds
from model.field_lattice import Lattice, NoDigits, Piece, TooManyPieces
from model.preprocess import frame_ink
from model.tones import find_tones

WORK_HEIGHT_PX: Final = 96


def split(field: NDArray[np.uint8], max_digits: int) -> Lattice:
    """The lattice of a field; see `model.field.find_pieces`."""
    factor = max(1, field.shape[0] // WORK_HEIGHT_PX)
    grey = np.asarray(Image.fromarray(field).reduce(factor)) if factor > 1 else field
    tones = find_tones(grey)
    top, bottom, _, _ = ink_bounds(tones.is_ink)
    height = bottom - top
    if height < 8:
        raise NoDigits(f"the ink is {height * factor} px high; a digit has at least 8 px")
    profile = np.count_nonzero(tones.is_ink[top:bottom], axis=0)
    flags = np.diff(np.concatenate([[0], (profile > 0).astype(np.int8), [0]]))
    runs = list(
        zip(np.flatnonzero(flags > 0).tolist(), np.flatnonzero(flags < 0).tolist(), strict=True)
    )
    segments: list[tuple[int, int, float]] = []
    for start, end in runs:
        cuts = _cuts(profile[start:end], height)
        edges = [start, *(start + cut for cut in cuts), end]
        for place, (first, last) in enumerate(pairwise(edges)):
            segments.append((int(first), int(last), float(profile[first]) / 5 if place else 0.0))
    if len(segments) > 4 * max_digits:
        raise TooManyPieces(
            f"the field has {len(segments)} pieces of ink; at most {4 * max_digits} are allowed"
        )
    ink = tones.ink_of(grey)
    pieces, images, heights, widths = [], [], [], []
    for start in range(len(segments)):
        for end in range(start + 1, min(start + 4, len(segments)) + 1):
            first, last = segments[start][0], segments[end - 1][1]
            if last - first > 1.2 * height:
                break
            cut = tones.is_ink[:, first:last]
            up, down, _, _ = ink_bounds(cut)
            pieces.append(
                Piece(
                    start,
                    end,
                    (first * factor, up * factor, (last - first) * factor, (down - up) * factor),
                )
            )
            images.append(frame_ink(ink[up:down, first:last]))
            heights.append((down - up) / height)
            widths.append((last - first) / height)
    masses = np.array([float(profile[first:last].sum()) for first, last, _ in segments])
    gaps = np.zeros(len(segments) + 1)
    gaps[1:-1] = [(after[0] - before[1]) / height for before, after in pairwise(segments)]
    return Lattice(
        pieces=tuple(pieces),
        images=np.stack(images),
        num_nodes=len(segments) + 1,
        heights=np.array(heights),
        widths=np.array(widths),
        drops=np.zeros(len(pieces)),
        spreads=np.zeros(len(pieces)),
        gaps=gaps,
        cuts=np.array([*(cut for _, _, cut in segments), 0.0]),
        masses=masses / masses.max(),
        sizes=np.array([0.5 for _ in segments]),
    )


def _cuts(profile: NDArray[np.intp], height: int) -> list[int]:
    if len(profile) < 0.8 * height:
        return []
    lowest = [
        x
        for x in range(height // 5, len(profile) - height // 5)
        if profile[x] == profile[max(0, x - height // 6) : x + height // 6].min()
    ]
    kept: list[int] = []
    for x in lowest:
        if not kept or x - kept[-1] > height // 6:
            kept.append(x)
    return kept
