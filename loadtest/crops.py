"""The crops that the load is made of: real labelled digits, at a chosen size, as PNG bytes."""

import csv
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

CROPS: Final = Path(__file__).parents[1] / "tests" / "data" / "crops"


@dataclass(frozen=True, slots=True)
class LabelledCrop:
    """One crop and the digit it shows."""

    png: bytes
    label: int

    def pixels(self) -> NDArray[np.uint8]:
        """(H, W) uint8."""
        return np.asarray(Image.open(io.BytesIO(self.png)).convert("L"))


def load(folder: Path = CROPS) -> list[LabelledCrop]:
    """Every crop of the folder, in the order of its `labels.csv`.

    Raises:
        FileNotFoundError: the folder or its labels are missing.
    """
    with (folder / "labels.csv").open(newline="") as rows:
        return [
            LabelledCrop((folder / row["file"]).read_bytes(), int(row["label"]))
            for row in csv.DictReader(rows)
        ]


def spread(crops: list[LabelledCrop], num_crops: int) -> list[LabelledCrop]:
    """So many of the crops, evenly over the list, so that every digit takes part."""
    step = len(crops) / num_crops
    return [crops[int(index * step)] for index in range(num_crops)]


def resized(crop: LabelledCrop, side_px: int) -> LabelledCrop:
    """The crop as a square grey PNG of this side."""
    picture = Image.open(io.BytesIO(crop.png)).convert("L").resize((side_px, side_px))
    file = io.BytesIO()
    picture.save(file, "PNG")
    return LabelledCrop(file.getvalue(), crop.label)
