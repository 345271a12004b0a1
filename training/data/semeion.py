"""UCI's Semeion digits: about 80 Italian writers, 1,593 digits of 16x16 bits. Never trained on.

Edge: reads disk and network. Knows nothing about models.

Source:
    Semeion Handwritten Digit, UCI Machine Learning Repository, CC BY 4.0 (Tattile; Semeion
    Research Center of Sciences of Communication).
"""

from __future__ import annotations

import hashlib
import logging
import os
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from training.data.datasets import LabelledImages
from training.data.mnist_files import DataError, WrongChecksum

logger = logging.getLogger(__name__)

ADDRESS = "https://archive.ics.uci.edu/ml/machine-learning-databases/semeion/semeion.data"
FILE_NAME = "semeion.data"  # in the data cache
NUM_DIGITS, SIDE_PX = 1593, 16
# Of the parsed arrays, because copies of the file differ in line ends and in how they give the
# digit: (1593, 16, 16) uint8 of 0 and 1, then (1593,) uint8.
SHA256 = "a28e8db38c7bd837208fdef540ff937a9dadba600d25778df7c78c80b04a462f"
DOWNLOAD_TIMEOUT_S = 20
MAX_FILE_BYTES = 8 * 1024 * 1024  # the file has 2.9 MB
DRAWN_PX = 28  # side of the smooth picture that a scan is made from
# Every digit was stretched to fill the square, so its own width is lost. All get the same width,
# the median of MNIST's boxes (width over height), whatever digit they are.
WIDTH_FRAC = 0.75  # 0.750 over MNIST's first 20,000 training digits


def load_semeion(
    cache: Path, file: Path | None, *, address: str = ADDRESS, sha256: str = SHA256
) -> LabelledImages | None:
    """Read Semeion from a file, from the cache, or from UCI, which fills the cache.

    Args:
        cache: folder of the data cache.
        file: the operator's copy of `semeion.data`; None reads the cache or the address.
        address: where UCI has the file; https only.
        sha256: of the parsed arrays.

    Returns:
        images (1593, 28, 28) uint8, ink bright, as `draw` makes them; None where nothing was named
        and the address does not answer, which is logged.

    Raises:
        DataError: the named file is missing or damaged.
        WrongChecksum: a file holds other digits than UCI's.
    """
    if file is not None:
        return draw(parse(_read(file), origin=str(file), sha256=sha256))
    kept = cache / FILE_NAME
    if kept.is_file():
        return draw(parse(kept.read_bytes(), origin=str(kept), sha256=sha256))
    try:
        data = _fetch(address)
    except (urllib.error.URLError, OSError) as error:
        logger.warning(
            "Semeion is left out: %s does not answer (%s); pass a copy by --semeion FILE",
            address,
            error,
        )
        return None
    found = parse(data, origin=address, sha256=sha256)
    cache.mkdir(parents=True, exist_ok=True)
    arriving = kept.with_suffix(f".{os.getpid()}")
    arriving.write_bytes(data)
    arriving.rename(kept)
    return draw(found)


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise DataError(f"--semeion {file} cannot be read: {error.strerror}") from error


def _fetch(address: str) -> bytes:
    if not address.startswith("https://"):
        raise DataError(f"{address} is not https")
    with urllib.request.urlopen(address, timeout=DOWNLOAD_TIMEOUT_S) as response:  # noqa: S310 - https only, checked above
        if not response.url.startswith("https://"):
            raise urllib.error.URLError(f"redirected to {response.url}, which is not https")
        data: bytes = response.read(MAX_FILE_BYTES)
    return data


def parse(data: bytes, *, origin: str, sha256: str) -> LabelledImages:
    """Parse the lines: 256 bits, then the digit or ten bits of which its own is 1.

    Returns:
        images (1593, 16, 16) uint8 of 0 and 1; labels (1593,).

    Raises:
        DataError: a line has another form; the message names it.
        WrongChecksum: other digits than UCI's.
    """
    num_bits = SIDE_PX * SIDE_PX
    rows = []
    for number, line in enumerate(data.decode("ascii", "replace").splitlines(), 1):
        fields = line.split()
        if not fields:
            continue
        if len(fields) not in (num_bits + 1, num_bits + 10):
            raise DataError(
                f"{origin}, line {number}: {len(fields)} numbers; Semeion has {num_bits + 10} "
                f"a line (256 bits, ten bits for the digit) or {num_bits + 1} (256 bits, the digit)"
            )
        try:
            values = np.array(fields, np.float64)
        except ValueError as error:
            raise DataError(f"{origin}, line {number}: {error}") from error
        label = values[num_bits:].argmax() if len(fields) > num_bits + 1 else values[num_bits]
        rows.append(np.append(values[:num_bits], label))
    table = np.array(rows).reshape(-1, num_bits + 1)
    if not (np.isin(table[:, :-1], (0, 1)).all() and np.isin(table[:, -1], range(10)).all()):
        raise DataError(f"{origin}: Semeion's pixels are 0 or 1 and its digits 0 to 9")
    found = LabelledImages(
        table[:, :-1].reshape(-1, SIDE_PX, SIDE_PX).astype(np.uint8), table[:, -1].astype(np.uint8)
    )
    actual = hashlib.sha256(found.images.tobytes() + found.labels.tobytes()).hexdigest()
    if actual != sha256:
        raise WrongChecksum(
            f"{origin} holds {len(found)} digits with sha256 {actual}, expected {NUM_DIGITS} with "
            f"{sha256}: the file is damaged or another data set"
        )
    return found


def draw(bits: LabelledImages) -> LabelledImages:
    """Make smooth pictures of the bits in MNIST's frame, from which scans can be drawn.

    Enlarges by bicubic interpolation, with edges about 1 px wide, and narrows every digit to
    `WIDTH_FRAC` of its height: the set's own widths are lost.

    Returns:
        images (N, 28, 28) uint8, ink bright: the digit is 20 px high and in the middle.
    """
    ink = torch.from_numpy(bits.images.astype(np.float32))[:, None]
    size = (20, round(20 * WIDTH_FRAC))
    padded = functional.pad(ink, (1, 1, 1, 1))  # so that the outer edges are soft, too
    fine = functional.interpolate(padded, scale_factor=8, mode="bicubic", align_corners=False)
    crisp = ((fine - 0.5) * 3 + 0.5).clamp(0, 1)[:, :, 4:-4, 4:-4]
    small = functional.interpolate(crisp, size=size, mode="area")
    top, left = (DRAWN_PX - size[0]) // 2, (DRAWN_PX - size[1]) // 2
    images = np.zeros((len(bits), DRAWN_PX, DRAWN_PX), np.uint8)
    images[:, top : top + size[0], left : left + size[1]] = _to_grey(small[:, 0])
    return LabelledImages(images, bits.labels)


def _to_grey(ink: torch.Tensor) -> NDArray[np.uint8]:
    grey: NDArray[np.uint8] = np.rint(ink.numpy() * 255).astype(np.uint8)
    return grey
