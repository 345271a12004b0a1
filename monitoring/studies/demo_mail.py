"""The letters of the demo: four sites, postcodes and single digits, one scanner that gets dirty.

The digits are real; the hand, the paper and the scanner of each letter are drawn from a seed. Pure,
apart from `load_glyphs`, which reads the digits that are in the repository.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageDraw, ImageFilter

from capture.label_event import NOT_A_DIGIT
from model.preprocess import frame
from monitoring.studies import scanner_faults
from monitoring.studies.champion_reader import uuid7

Crop = NDArray[np.uint8]
Glyphs = list[list[Crop]]  # of each digit: (28, 28), ink bright

SITES: Final = ("bonn", "cologne", "dresden", "essen")
FIRST_DIGITS: Final = {"bonn": "53", "cologne": "50", "dresden": "01", "essen": "45"}
DIRTY_SITE: Final = "dresden"
DIRTY_DAYS: Final = 7  # before today
_STRIPED_FROM, _BLURRED_FROM = 4, 6  # days of dirt
NUM_CODES: Final = 150  # valid ones of each site
ELSEWHERE_SHARE: Final = 0.3  # of letters to another site's codes
SINGLE_SHARE: Final = 0.1  # of letters of which only one digit is sent
HARD_SHARE: Final = 0.08  # of crops, written or scanned badly
NO_DIGIT_SHARE: Final = 0.005  # of crops: a smudge, two digits, or nothing
_SEED: Final = 1
_DEADLINE_SITES: Final = ("bonn", "cologne")  # their scanners send X-Deadline-Ms
_WAITS_US: Final = (7_200_000_000, 18_000_000_000)  # 2 to 5 hours
_RECENT: Final = timedelta(hours=3)  # when today's letters came


@dataclass(frozen=True, slots=True)
class Letter:
    """One request of a scanner."""

    site: str
    read_id: str
    request_id: str
    time_us: int  # when it was answered
    deadline_us: int | None  # when it can wait no longer, where its scanner says so
    truth: tuple[str, ...]  # the label of each crop
    crops: tuple[Crop, ...]


@dataclass(frozen=True, slots=True)
class _Hand:
    """How one letter is written and scanned."""

    height_px: float
    slant: float
    width: float
    paper: float
    ink: float
    blur_px: float
    noise: float


def load_glyphs(folder: Path) -> Glyphs:
    """The digits of tests/data/crops, framed: their files are named after their digit."""
    found: Glyphs = [[] for _ in range(10)]
    for path in sorted(folder.glob("*.png")):
        with Image.open(path) as picture:
            framed = frame(np.asarray(picture.convert("L")))
        grey = np.rint(framed.image[0] * 255).astype(np.uint8)
        found[int(path.name[0])].append(grey)
    if not all(found):
        raise FileNotFoundError(f"{folder} does not have a crop of each digit; restore it from git")
    return found


def valid_codes() -> dict[str, list[str]]:
    """Each site's codes, in order."""
    rng = np.random.default_rng(2026)
    return {
        site: sorted(
            f"{first}{one:03d}" for one in rng.choice(1_000, NUM_CODES, replace=False).tolist()
        )
        for site, first in FIRST_DIGITS.items()
    }


def letters_of(
    site: str, day: date, *, back: int, num: int, now: datetime, glyphs: Glyphs
) -> list[Letter]:
    """One day's letters of one site, in the order in which they were answered.

    Args:
        site: one of SITES.
        day: in UTC.
        back: days before today; the seed of a day, so that a demo of tomorrow has the same mail.
        num: of letters.
        now: end of today's letters.
        glyphs: from `load_glyphs`.
    """
    rng = np.random.default_rng([_SEED, SITES.index(site), back])
    begin = datetime.combine(day, time(), UTC)
    end = min(begin + timedelta(days=1), now)
    if end == now:
        begin = max(begin, now - _RECENT)
    begin_us, end_us = (int(one.timestamp() * 1e6) for one in (begin, end))
    moments = sorted(rng.integers(begin_us, max(end_us, begin_us + 1), num).tolist())
    codes = valid_codes()
    return [
        _letter(site, moment, f"{site}-{day:%m%d}-{number:04d}", _digits(site, codes, rng),
                back, glyphs, rng)
        for number, moment in enumerate(moments, 1)
    ]  # fmt: skip


def _digits(site: str, codes: dict[str, list[str]], rng: np.random.Generator) -> str:
    goes_to = str(rng.choice(SITES)) if rng.random() < ELSEWHERE_SHARE else site
    code = str(rng.choice(codes[goes_to]))
    return code[int(rng.integers(len(code)))] if rng.random() < SINGLE_SHARE else code


def _letter(
    site: str,
    time_us: int,
    request_id: str,
    digits: str,
    back: int,
    glyphs: Glyphs,
    rng: np.random.Generator,
) -> Letter:
    hand = _hand(rng)
    crops, truth = [], []
    for digit in digits:
        crop, label = _written(int(digit), hand, glyphs, rng)
        if site == DIRTY_SITE and DIRTY_DAYS - back >= 0:
            crop = _dirty(crop, DIRTY_DAYS - back)
        crops.append(crop)
        truth.append(label)
    deadline_us = time_us + int(rng.integers(*_WAITS_US))
    return Letter(
        site=site,
        read_id=uuid7(time_us // 1000, rng),
        request_id=request_id,
        time_us=time_us,
        deadline_us=deadline_us if site in _DEADLINE_SITES else None,
        truth=tuple(truth),
        crops=tuple(crops),
    )


def _hand(rng: np.random.Generator) -> _Hand:
    paper = rng.uniform(195, 250)
    return _Hand(
        height_px=float(rng.uniform(26, 46)),
        slant=float(rng.normal(0, 0.1)),
        width=float(rng.uniform(0.85, 1.15)),
        paper=float(paper),
        ink=float(rng.uniform(15, 90)),
        blur_px=float(rng.uniform(0, 0.5)),
        noise=float(rng.uniform(1, 5)),
    )


def _hard(hand: _Hand, rng: np.random.Generator) -> _Hand:
    """The same hand where the pen ran dry or the glass was touched."""
    return replace(
        hand,
        slant=hand.slant + float(rng.normal(0, 0.35)),
        width=hand.width * float(rng.uniform(0.7, 1.4)),
        ink=hand.paper - float(rng.uniform(45, 90)),
        blur_px=hand.height_px * float(rng.uniform(0.03, 0.1)),
        noise=float(rng.uniform(6, 20)),
    )


def _written(digit: int, hand: _Hand, glyphs: Glyphs, rng: np.random.Generator) -> tuple[Crop, str]:
    """A crop and its true label; few show no digit, or two."""
    if rng.random() < HARD_SHARE:
        hand = _hard(hand, rng)
    ink = _ink(digit, hand, glyphs, rng)
    label = str(digit)
    if rng.random() < NO_DIGIT_SHARE:
        label = NOT_A_DIGIT
        kind = int(rng.integers(3))
        if kind == 0:  # paper
            ink = Image.new("L", ink.size)
        elif kind == 1:  # a line that was crossed out
            ink = Image.new("L", ink.size)
            ends = rng.uniform(0, 1, (5, 2)) * ink.size
            ImageDraw.Draw(ink).line([tuple(one) for one in ends.tolist()], 255, width=3)
        else:
            other = _ink(int(rng.integers(10)), hand, glyphs, rng).resize(ink.size)
            both = Image.new("L", (2 * ink.width - ink.width // 3, ink.height))
            both.paste(ink, (0, 0))
            both.paste(
                ImageChops.lighter(other, Image.new("L", other.size)),
                (ink.width - ink.width // 3, 0), other,
            )  # fmt: skip
            ink = both
    grey = hand.paper - np.asarray(ink, np.float32) / 255 * (hand.paper - hand.ink)
    grey += rng.normal(0, hand.noise, grey.shape)
    return np.clip(np.rint(grey), 0, 255).astype(np.uint8), label


def _ink(digit: int, hand: _Hand, glyphs: Glyphs, rng: np.random.Generator) -> Image.Image:
    """One glyph in the letter's hand, ink bright, with margins."""
    glyph = glyphs[digit][int(rng.integers(len(glyphs[digit])))]
    height = hand.height_px * rng.uniform(0.92, 1.08) * 28 / 20  # the frame has margins
    width = height * hand.width * rng.uniform(0.94, 1.06)
    slant = hand.slant + rng.normal(0, 0.04)
    turn = rng.normal(0, 0.05)
    matrix = np.array([[np.cos(turn), np.sin(turn) + slant], [-np.sin(turn), np.cos(turn)]])
    matrix = np.diag([28 / width, 28 / height]) @ matrix
    size = (max(6, round(width)), max(6, round(height)))
    shift = 14 - matrix @ (np.array(size) / 2)
    data = (*matrix[0], shift[0], *matrix[1], shift[1])
    picture = Image.fromarray(glyph).transform(
        size, Image.Transform.AFFINE, tuple(map(float, data)), Image.Resampling.BICUBIC
    )
    return picture.filter(ImageFilter.GaussianBlur(hand.blur_px)) if hand.blur_px else picture


def _dirty(crop: Crop, days: int) -> Crop:
    """Dirt on the glass: first a film that takes contrast, then a stripe, at last blur as well."""
    film = 0.12 + 0.02 * days
    grey = np.median(crop) * film + crop * (1 - film)
    filmed: Crop = np.rint(grey).astype(np.uint8)
    if days < _STRIPED_FROM:
        return filmed
    fault = scanner_faults.FAULTS["stripe" if days < _BLURRED_FROM else "stripe and blur"]
    striped = scanner_faults.apply(fault, [filmed], seed=0)[0]
    if days > _STRIPED_FROM:
        return striped
    pale: Crop = np.rint(0.6 * filmed + 0.4 * striped).astype(np.uint8)
    return pale
