"""Crops as scanners send them: paper grain, margin, soft edges, 40 to 128 px, PNG or JPEG.

Made from the labelled digits of `digit_crops` with a fixed seed, so every run and every server
gets the same bytes. Nothing here is in MNIST's frame: a server that reads these crops has to
decode noise and to frame.
"""

import io
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from loadtest.digit_crops import LabelledCrop, load, spread

Format = Literal["PNG", "JPEG"]

SIDE_PX: Final = (40, 128)  # of the longer side, log-uniform
MARGIN_FRAC: Final = (0.05, 0.35)  # of the digit's height, for each side
PAPER: Final = (215, 250)  # grey level
SHADE: Final = 12.0  # grey levels from one edge to the other: uneven light
GRAIN: Final = (2.0, 6.0)  # standard deviation in grey levels
JPEG_QUALITY: Final = (75, 92)
_SEED: Final = 20261126


def scanned(num_crops: int) -> list[LabelledCrop]:
    """Crops of mixed sizes, every other one a JPEG."""
    return [
        scan(crop, np.random.default_rng((_SEED, number)), file_format=("PNG", "JPEG")[number % 2])
        for number, crop in enumerate(spread(load(), num_crops))
    ]


def noisy(side_px: int, num_crops: int, *, file_format: Format) -> list[LabelledCrop]:
    """Square crops of one side, for the decoder's stage time."""
    return [
        scan(crop, np.random.default_rng((_SEED, number)), file_format=file_format, side_px=side_px)
        for number, crop in enumerate(spread(load(), num_crops))
    ]


def scan(
    crop: LabelledCrop,
    rng: np.random.Generator,
    *,
    file_format: Format,
    side_px: int | None = None,
) -> LabelledCrop:
    """Put one digit on grainy, unevenly lit paper and encode it.

    Args:
        crop: dark ink on light paper or the reverse.
        rng: source of randomness.
        file_format: of the file.
        side_px: both sides of the picture; None keeps the proportions and draws the longer side.
    """
    ink = _with_margin(_ink(crop.pixels()), rng)
    height, width = ink.shape
    longest = np.exp(rng.uniform(*np.log(SIDE_PX)))
    scale = longest / max(height, width)
    size = (
        (side_px, side_px)
        if side_px is not None
        else (max(8, round(width * scale)), max(8, round(height * scale)))
    )
    soft = np.asarray(
        Image.fromarray((ink * 255).astype(np.uint8)).resize(size, Image.Resampling.BICUBIC),
        np.float32,
    )
    picture = Image.fromarray(_on_paper(soft / 255, rng))
    file = io.BytesIO()
    if file_format == "JPEG":
        picture.save(file, "JPEG", quality=int(rng.integers(*JPEG_QUALITY)))
    else:
        picture.save(file, "PNG")
    return LabelledCrop(file.getvalue(), crop.label)


def _ink(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(H, W) float32 in [0, 1], ink bright; the tone of most of the border is paper."""
    grey = pixels.astype(np.float32)
    border = np.concatenate([grey[0], grey[-1], grey[:, 0], grey[:, -1]])
    paper = float(np.median(border))
    ink = np.abs(grey - paper)
    scaled: NDArray[np.float32] = ink / np.float32(max(float(ink.max()), 1.0))
    return scaled


def _with_margin(ink: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    top, bottom, left, right = (rng.uniform(*MARGIN_FRAC, 4) * len(ink)).astype(int)
    return np.pad(ink, ((top, bottom), (left, right)))


def _on_paper(ink: NDArray[np.floating], rng: np.random.Generator) -> NDArray[np.uint8]:
    height, width = ink.shape
    paper = rng.uniform(*PAPER) + SHADE * (np.linspace(-0.5, 0.5, width) * rng.choice((-1, 1)))
    darkness = rng.uniform(0.6, 0.9)
    grey = paper * (1 - darkness * ink) + rng.normal(0, rng.uniform(*GRAIN), (height, width))
    digitised: NDArray[np.uint8] = grey.clip(0, 255).round().astype(np.uint8)
    return digitised
