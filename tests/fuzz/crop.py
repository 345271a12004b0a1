"""Coverage-guided fuzzing of decode and frame: `python tests/fuzz/crop.py -runs=200000`.

Any bytes give a framed image or a CropError, and never anything else: read as a file, and read as
orders for a drawing, since damaged files hardly ever hold a picture with lines and strokes. Starts
from tests/fuzz/corpus
(one file for each way through the code that was found so far) and keeps nothing: what it finds new
goes to a temporary folder, or to the folder named as the first argument.
"""

import contextlib
import sys
import tempfile
from pathlib import Path

import atheris
import numpy as np
from numpy.typing import NDArray

with atheris.instrument_imports(include=["model", "PIL"]):
    from model.decode import decode
    from model.errors import CropError
    from model.png_file import rebuild_png, walk_png
    from model.preprocess import frame

CORPUS = Path(__file__).parent / "corpus"
MAX_BYTES = 4096


def one_input(data: bytes) -> None:
    """Decode and frame the bytes, and frame a drawing; a CropError is allowed."""
    for make in (decode, with_checksums, drawing):
        with contextlib.suppress(CropError):
            check(make(data))


def with_checksums(data: bytes) -> NDArray[np.uint8]:
    """The file as a PNG whose checksums are right, so that damage goes past them."""
    data = b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR" + data[16:]
    return decode(rebuild_png(data, walk_png(data)._replace(has_metadata=True)))


def drawing(data: bytes) -> NDArray[np.uint8]:
    """Paper with one line or rectangle per six bytes: kind, place, size, grey."""
    orders = np.frombuffer(data[: len(data) // 6 * 6], dtype=np.uint8).reshape(-1, 6).tolist()
    height, width = (4 + side % 60 for side in orders[0][:2]) if orders else (4, 4)
    crop = np.full((height, width), 250, dtype=np.uint8)
    for what, top, left, tall, wide, grey in orders[1:12]:
        row, column, thick_px = top % height, left % width, 1 + tall % 4
        places = (
            np.s_[:thick_px],
            np.s_[-thick_px:],
            np.s_[:, :thick_px],
            np.s_[:, -thick_px:],
            np.s_[row : row + 1 + tall % height, column : column + 1 + wide % width],
        )
        crop[places[what % len(places)]] = grey
    return crop


def check(crop: NDArray[np.uint8]) -> None:
    """A decoded crop is greyscale, and gives an image unless it is blank."""
    assert crop.dtype == np.uint8
    assert crop.ndim == 2
    image = frame(crop).image
    assert image.shape == (1, 28, 28)
    assert image.dtype == np.float32
    assert image.min() >= 0.0  # also false for a NaN
    assert image.max() <= 1.0


def main() -> None:
    """Fuzz. libFuzzer exits the process, with a non-zero code if it found an error."""
    options = [argument for argument in sys.argv[1:] if argument.startswith("-")]
    folders = [argument for argument in sys.argv[1:] if not argument.startswith("-")]
    new = folders or [tempfile.mkdtemp(prefix="fuzz-")]
    atheris.Setup(
        [sys.argv[0], f"-max_len={MAX_BYTES}", "-timeout=2", *options, *new, str(CORPUS)], one_input
    )
    atheris.Fuzz()


if __name__ == "__main__":
    main()
