"""The types between a field and its code: candidate digits, the lattice of them, what was read.

A field is one image with all digits of a code. It is split into segments, in the order of writing;
between two segments lies a node. A piece is a run of neighbouring segments that may be one digit.
A path through the lattice chooses pieces one after the other; it skips segments that are no digit.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from model.errors import CropError

MIN_HEIGHT: Final = 0.4  # of a piece, in digit heights


class NoDigits(CropError):
    """The field has ink, but none that may be a digit."""


class TooManyPieces(CropError):
    """The field has more separate ink than a code can have: noise, a picture, a whole letter."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A candidate digit: a run of neighbouring segments of the field."""

    start: int  # nodes of the lattice, start < end
    end: int
    box: tuple[int, int, int, int]  # x, y, width, height in pixels of the field as sent


@dataclass(frozen=True, slots=True)
class Lattice:
    """All candidate digits of a field, and what is known of them before they are read.

    Lengths are in units of the field's digit height.
    """

    pieces: tuple[Piece, ...]
    images: NDArray[np.float32]  # (N, 1, 28, 28), one for each piece
    num_nodes: int  # segments + 1
    heights: NDArray[np.float64]  # (N,)
    widths: NDArray[np.float64]  # (N,)
    drops: NDArray[np.float64]  # (N,) how far the middle is below the middle of the digits
    spreads: NDArray[np.float64]  # (N,) the largest gap inside a piece; 0: its ink is connected
    gaps: NDArray[np.float64]  # (num_nodes,) free space between the two segments beside a node
    cuts: NDArray[np.float64]  # (num_nodes,) ink that is cut there, in stroke widths; 0: none
    masses: NDArray[np.float64]  # (segments,) ink of each, as a share of a digit's
    sizes: NDArray[np.float64]  # (segments,) height of each


@dataclass(frozen=True, slots=True)
class FieldDigit:
    """One digit of the code that was read."""

    box: tuple[int, int, int, int]  # x, y, width, height in pixels of the field as sent
    probs: NDArray[np.float64]  # (10,)
    garbage: float  # the model's score; higher is less like a digit
    piece: int  # its index in the lattice


@dataclass(frozen=True, slots=True)
class FieldReading:
    """The code of a field, accepted or not, and what else it may be.

    A dash or a space is in no code: only digits are.
    """

    digits: tuple[FieldDigit, ...]  # of the most probable code's best path; empty: there is none
    candidates: tuple[tuple[str, float], ...]  # codes and their probability, most probable first
    possible_frac: float  # share of the joint mass that possible codes have
    rejected_because: str | None  # None: accepted
    # Each digit is a part of its own, and no ink is left out: cutting parts would change nothing.
    is_settled: bool = False
