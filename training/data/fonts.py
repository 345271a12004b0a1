"""Printed digits and letters, drawn in the fonts found on this machine.

Edge: reads font files. No font is shipped; `APT_LINE` installs freely licensed ones on Debian.
Knows nothing about training.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from training.data.datasets import LabelledImages
from training.data.mnist_files import DataError

logger = logging.getLogger(__name__)

FONT_FOLDERS = (Path("/usr/share/fonts"), Path("/usr/local/share/fonts"), Path.home() / ".fonts")
APT_LINE = (
    "apt-get install -y --no-install-recommends fonts-liberation fonts-freefont-ttf"
    " fonts-urw-base35 fonts-roboto-unhinted fonts-open-sans fonts-lato fonts-ocr-a fonts-ocr-b"
    " fonts-courier-prime fonts-crosextra-carlito fonts-crosextra-caladea fonts-hack-ttf"
    " fonts-inconsolata fonts-jetbrains-mono fonts-go fonts-b612 fonts-cantarell"
    " fonts-ebgaramond fonts-linuxlibertine fonts-vollkorn fonts-quattrocento fonts-comic-neue"
    " fonts-dkg-handwriting fonts-breip fonts-humor-sans fonts-ecolier-court"
    " fonts-dancingscript fonts-paratype fonts-sil-andika fonts-sil-gentium-basic"
    " fonts-adf-accanthis fonts-adf-gillius fonts-adf-libris fonts-adf-oldania"
    " fonts-adf-switzera fonts-adf-universalis fonts-gnutypewriter fonts-levien-typoscript"
    " fonts-rufscript fonts-kristi fonts-femkeklaver fonts-isabella fonts-tomsontalks"
    " fonts-sjfonts fonts-essays1743 fonts-summersby fonts-jura fonts-play fonts-quicksand"
    " fonts-dosis fonts-comfortaa fonts-bebas-neue fonts-opendin fonts-roadgeek fonts-tuffy"
    " fonts-cabin fonts-national-park fonts-dejavu"
)
MIN_FAMILIES = 10  # with fewer the network would learn the typefaces, not print
# Symbols, boxed digits (OCR-B's, Linux Biolinum's keyboard face) and other non-digits.
REFUSED = (
    "symbol",
    "dingbat",
    "standardsymbols",
    "d050000l",
    "emoji",
    "icon",
    "smallcaps",
    "ocrbe",
    "ocrbx",
    "_k",
)
# Characters that look like no digit, upright or slanted.
LETTERS = "ACEFHJKMNPRTUVWXYacdefhkmnprtuvwxy&%#@?+=*$"
GLYPH_PX = 56  # twice MNIST's frame
BOX_PX = 40
HELD_OUT_SHARE = 5  # one family in five is kept for evaluation


@dataclass(frozen=True, slots=True)
class Fonts:
    """Font files split by family: a held-out family has no face in training."""

    train: tuple[Path, ...]
    held_out: tuple[Path, ...]


def find_fonts(folders: Sequence[Path] = FONT_FOLDERS) -> Fonts | None:
    """Find usable fonts; log how to install some and return None when there are too few."""
    families: dict[str, list[Path]] = {}
    for folder in folders:
        for path in sorted(folder.rglob("*.[ot]tf")):
            if not any(word in path.stem.lower() for word in REFUSED) and _has_digits(path):
                families.setdefault(family(path), []).append(path)
    if len(families) < MIN_FAMILIES:
        logger.warning(
            "only %d usable font families found, %d are needed: printed digits and letters are "
            "left out. On Debian: %s",
            len(families),
            MIN_FAMILIES,
            APT_LINE,
        )
        return None
    train: list[Path] = []
    held_out: list[Path] = []
    for name, faces in sorted(families.items()):
        digest = hashlib.sha256(name.encode()).digest()
        (held_out if digest[0] % HELD_OUT_SHARE == 0 else train).extend(faces)
    logger.info("%d font families, %d faces held out", len(families), len(held_out))
    return Fonts(tuple(train), tuple(held_out))


def need_fonts(*, without_fonts: bool) -> Fonts | None:
    """Find usable fonts; None where there are too few and the caller goes on without.

    Raises:
        DataError: there are too few fonts, and nobody said to go on without.
    """
    found = find_fonts()
    if found is None and not without_fonts:
        raise DataError(
            f"fewer than {MIN_FAMILIES} font families were found, so printed digits cannot be"
            f" drawn. On Debian: {APT_LINE}\nFor an experiment, --without-fonts goes on without"
            " them; the gate refuses the result."
        )
    return found


def families(faces: Sequence[Path]) -> tuple[str, ...]:
    """The families of some faces, by name, for the record of a run."""
    return tuple(sorted({family(path) for path in faces}))


def draw_digits(faces: Sequence[Path]) -> LabelledImages:
    """Every digit in every face: images (10 * faces, GLYPH_PX, GLYPH_PX) uint8, ink bright."""
    glyphs = [(draw_glyph(face, str(digit)), digit) for face in faces for digit in range(10)]
    kept = [(glyph, digit) for glyph, digit in glyphs if glyph is not None]
    return LabelledImages(
        np.stack([glyph for glyph, _ in kept]),
        np.array([digit for _, digit in kept], dtype=np.uint8),
    )


def draw_letters(faces: Sequence[Path]) -> NDArray[np.uint8]:
    """Every character of LETTERS in every face: (N, GLYPH_PX, GLYPH_PX) uint8, ink bright."""
    glyphs = [draw_glyph(face, letter) for face in faces for letter in LETTERS]
    return np.stack([glyph for glyph in glyphs if glyph is not None])


def draw_glyph(face: Path, character: str) -> NDArray[np.uint8] | None:
    """One character in MNIST's frame at twice the size, or None when the face draws nothing."""
    font = ImageFont.truetype(str(face), 100)
    left, top, right, bottom = (round(side) for side in font.getbbox(character))
    if right - left < 3 or bottom - top < 12:
        return None
    image = Image.new("L", (right - left, bottom - top), 0)
    ImageDraw.Draw(image).text((-left, -top), character, fill=255, font=font)
    scale = BOX_PX / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    image = image.resize(size, Image.Resampling.BOX if scale < 1 else Image.Resampling.BICUBIC)
    frame = Image.new("L", (GLYPH_PX, GLYPH_PX), 0)
    frame.paste(image, ((GLYPH_PX - size[0]) // 2, (GLYPH_PX - size[1]) // 2))
    return np.asarray(frame)


def family(path: Path) -> str:
    """The first word of the family name, so that bold and italic stay together."""
    name = ImageFont.truetype(str(path), 10).getname()[0] or path.stem
    return name.split()[0].lower().rstrip("0123456789")


def _has_digits(path: Path) -> bool:
    """Whether the face draws ten different digits, and not ten times its box for a missing one."""
    try:
        shapes = [draw_glyph(path, character) for character in "0123456789"]
    except (OSError, ValueError):
        return False
    drawn = [shape.tobytes() for shape in shapes if shape is not None]
    return len(drawn) == 10 and len(set(drawn)) == 10
