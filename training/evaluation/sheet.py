"""Contact sheet of the scanner simulator, so that a person can check its crops.

Pure: a picture out. Knows nothing about models.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from training.data import garbage, render, styles
from training.data.corruptions import CORRUPTIONS
from training.data.datasets import LabelledImages
from training.data.scanner import corrupt
from training.data.warp import MAX_SEVERITY

CELL_PX, TITLE_PX = 64, 20
NUM_COLUMNS = 15
PAPER, INK = 128, 255
SEED = 20261121


def draw_sheet(digits: LabelledImages, letters: NDArray[np.uint8] | None) -> Image.Image:
    """Random scanner crops, each corruption at five severities, each style, each garbage."""
    rng = np.random.default_rng(SEED)
    rows: list[tuple[str, list[NDArray[np.uint8]]]] = []
    for severity in (1, 3, 5):
        part = digits.take(slice(0, NUM_COLUMNS))
        crops, _ = render.render_digits(part, severity=severity, seed=SEED + severity)
        rows.append((f"scanner crops, severity {severity}", crops))
    per_severity = NUM_COLUMNS // MAX_SEVERITY
    for name in CORRUPTIONS:
        crops = [
            corrupt(digits.images[int(rng.integers(len(digits)))], name, severity, rng)
            for severity in range(1, MAX_SEVERITY + 1)
            for _ in range(per_severity)
        ]
        rows.append((f"{name.replace('_', ' ')}, severities 1 to 5", crops))
    for name, style in styles.STYLES.items():
        part = digits.take(np.flatnonzero(digits.labels == style.label)[:NUM_COLUMNS])
        written = LabelledImages(styles.write_all(part.images, name, rng), part.labels)
        crops, _ = render.render_digits(written, severity=1, seed=SEED)
        rows.append((name, crops))
    material = garbage.Material(digits, letters)
    for kind in garbage.KINDS:
        if kind != "letter" or letters is not None:
            crops = garbage.draw_kind(kind, material, NUM_COLUMNS, rng)
            rows.append((f"garbage: {kind.replace('_', ' ')}", crops))
    return _lay_out(rows)


def _lay_out(rows: list[tuple[str, list[NDArray[np.uint8]]]]) -> Image.Image:
    size = (NUM_COLUMNS * CELL_PX, len(rows) * (CELL_PX + TITLE_PX))
    sheet = Image.new("L", size, PAPER)
    pen = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(13)
    for number, (title, crops) in enumerate(rows):
        top = number * (CELL_PX + TITLE_PX)
        pen.text((4, top + 2), title, fill=INK, font=font)
        for column, crop in enumerate(crops):
            picture = _fit_cell(Image.fromarray(crop))
            sheet.paste(picture, (column * CELL_PX + 2, top + TITLE_PX))
    return sheet


def _fit_cell(picture: Image.Image) -> Image.Image:
    room = CELL_PX - 4
    longest = max(picture.size)
    if longest > room:
        picture.thumbnail((room, room))
        return picture
    times = room // longest
    size = (picture.width * times, picture.height * times)
    return picture.resize(size, Image.Resampling.NEAREST)
