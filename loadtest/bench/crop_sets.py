"""The crops of the benchmark, by name: what scanners send, MNIST's own frame, large squares."""

from typing import Final

from loadtest import digit_crops, scanned_crops
from loadtest.digit_crops import LabelledCrop

SCANNED: Final = "scanned"
MNIST: Final = "28"  # 28 px in MNIST's frame, already framed
SQUARE: Final = "128"  # 128 px squares, enlarged and clean
CROPS: Final = (SCANNED, MNIST, SQUARE)  # the first is the headline
LABELS: Final = {SCANNED: "scanned", MNIST: "MNIST's frame", SQUARE: "128 px"}


def make(name: str, num_crops: int) -> list[LabelledCrop]:
    """The crops of one set; the same in every run."""
    if name == SCANNED:
        return scanned_crops.scanned(num_crops)
    return digit_crops.workload(int(name), num_crops)
