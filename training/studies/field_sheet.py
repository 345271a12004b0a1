"""Contact sheet of fields that were read wrongly: the field, the digits' boxes, what was read.

Pure: a picture out.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from model.field import FieldReading
from training.studies.field_strings import DrawnField

NUM_OF_A_KIND = 4
NUM_COLUMNS = 4
CELL_PX, ROOM_PX, TITLE_PX = (240, 84), (232, 62), 16
BOX_COLOURS = ((200, 30, 30), (30, 60, 200))
NUM_COLOURS = 32


def draw(failed: Sequence[tuple[DrawnField, FieldReading | None, str]]) -> Image.Image:
    """Lay out the fields, four in a row."""
    num_rows = max(1, -(-len(failed) // NUM_COLUMNS))
    sheet = Image.new("RGB", (NUM_COLUMNS * CELL_PX[0], num_rows * CELL_PX[1]), (150, 150, 150))
    pen = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(12)
    for number, (drawn, reading, refusal) in enumerate(failed):
        left = number % NUM_COLUMNS * CELL_PX[0] + 4
        top = number // NUM_COLUMNS * CELL_PX[1] + TITLE_PX
        code = reading.candidates[0][0] if reading and reading.candidates else "nothing"
        reason = refusal or (reading.rejected_because if reading else None) or "accepted"
        pen.text((left, top - TITLE_PX), f"{drawn.code}: {code} ({reason})", (0, 0, 0), font)
        sheet.paste(_picture(drawn, reading), (left, top))
    return sheet.quantize(NUM_COLOURS)


def _picture(drawn: DrawnField, reading: FieldReading | None) -> Image.Image:
    height, width = drawn.field.shape
    scale = min(ROOM_PX[0] / width, ROOM_PX[1] / height)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    smooth = np.asarray(Image.fromarray(drawn.field).resize(size)) // 32 * 32 + 16
    picture = Image.fromarray(smooth.astype(np.uint8)).convert("RGB")
    pen = ImageDraw.Draw(picture)
    for number, digit in enumerate(reading.digits if reading else ()):
        x, y, box_width, box_height = (side * scale for side in digit.box)
        colour = BOX_COLOURS[number % len(BOX_COLOURS)]
        pen.rectangle((x, y, x + box_width, y + box_height), outline=colour)
    return picture
