"""Coverage-guided fuzzing of decode and frame: `python tests/fuzz/crop.py -runs=200000`.

Any bytes give a framed image or a CropError, and never anything else. Starts from tests/fuzz/corpus
(one file for each way through the code that was found so far) and keeps nothing: what it finds new
goes to a temporary folder, or to the folder named as the first argument.
"""

import sys
import tempfile
from pathlib import Path

import atheris
import numpy as np

with atheris.instrument_imports(include=["model", "PIL"]):
    from model.decode import decode
    from model.errors import CropError
    from model.preprocess import frame

CORPUS = Path(__file__).parent / "corpus"
MAX_BYTES = 4096


def one_input(data: bytes) -> None:
    """Decode and frame; a CropError is a right answer."""
    try:
        crop = decode(data)
        assert crop.dtype == np.uint8
        assert crop.ndim == 2
        image = frame(crop).image
    except CropError:
        return
    assert image.shape == (1, 28, 28)
    assert image.dtype == np.float32
    assert image.min() >= 0.0  # also false for a NaN
    assert image.max() <= 1.0


def main() -> None:
    """Fuzz; libFuzzer ends the process, with another code than 0 when something was found."""
    options = [argument for argument in sys.argv[1:] if argument.startswith("-")]
    folders = [argument for argument in sys.argv[1:] if not argument.startswith("-")]
    new = folders or [tempfile.mkdtemp(prefix="fuzz-")]
    atheris.Setup(
        [sys.argv[0], f"-max_len={MAX_BYTES}", "-timeout=2", *options, *new, str(CORPUS)], one_input
    )
    atheris.Fuzz()


if __name__ == "__main__":
    main()
