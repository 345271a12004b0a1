"""The crops of the load tests: real labelled digits as PNG bytes, in a chosen size."""

import csv
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from model.preprocess import preprocess

CROPS: Final = Path(__file__).parents[1] / "tests" / "data" / "crops"


@dataclass(frozen=True, slots=True)
class LabelledCrop:
    """One crop and the digit it shows."""

    png: bytes  # the file; a JPEG among the scanned crops
    label: int

    @property
    def media_type(self) -> str:
        """What the file says it is."""
        return "image/jpeg" if self.png.startswith(b"\xff\xd8") else "image/png"

    def pixels(self) -> NDArray[np.uint8]:
        """(H, W) uint8."""
        return np.asarray(Image.open(io.BytesIO(self.png)).convert("L"))


def workload(side_px: int, num_crops: int) -> list[LabelledCrop]:
    """The benchmark's crops: 28 px in MNIST's frame, or scanned squares of another side."""
    chosen = spread(load(), num_crops)
    return [framed(crop) if side_px == 28 else resized(crop, side_px) for crop in chosen]


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
    """A sample at even steps through the list, so that every digit occurs."""
    step = len(crops) / num_crops
    return [crops[int(index * step)] for index in range(num_crops)]


def framed(crop: LabelledCrop) -> LabelledCrop:
    """The crop as MNIST frames it: 28x28, light ink on black, the digit in a centred 20 px box."""
    image = preprocess(crop.pixels())[0]
    return _encoded(Image.fromarray((image * 255).round().astype(np.uint8)), crop.label)


def resized(crop: LabelledCrop, side_px: int) -> LabelledCrop:
    """The crop as a square grey PNG of this side."""
    picture = Image.open(io.BytesIO(crop.png)).convert("L").resize((side_px, side_px))
    return _encoded(picture, crop.label)


def _encoded(picture: Image.Image, label: int) -> LabelledCrop:
    file = io.BytesIO()
    picture.save(file, "PNG")
    return LabelledCrop(file.getvalue(), label)
