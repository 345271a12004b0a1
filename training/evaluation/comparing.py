"""Compare runs crop by crop: intervals, McNemar's test, cost, spread over seeds, changed crops.

Pure. The first run is the one that the others are compared with. Knows nothing about files.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.stats import binomtest

from training.evaluation.answers import SetAnswers
from training.evaluation.confidence import Proportion

NUM_COLUMNS = 12  # of the picture of changed crops


@dataclass(frozen=True, slots=True)
class Row:
    """One run on one set."""

    num: int
    accuracy: float
    low: float  # 95 % Wilson interval
    high: float
    gained: int  # right here, wrong in the first run
    lost: int  # wrong here, right in the first run
    mcnemar_p: float
    accepted_frac: float
    wrong_frac: float  # accepted and wrong, of all


def compare(first: SetAnswers, other: SetAnswers) -> Row:
    """One run on one set against the first run on the same crops.

    Raises:
        ValueError: the two read other crops.
    """
    if first.crops.item() != other.crops.item():
        raise ValueError(
            "the runs were evaluated on other crops; evaluate both with the same code and data"
        )
    gained = int((other.right & ~first.right).sum())
    lost = int((first.right & ~other.right).sum())
    accuracy = Proportion(len(other.labels), int(other.right.sum()))
    low, high = accuracy.interval
    return Row(
        num=accuracy.num,
        accuracy=accuracy.value,
        low=low,
        high=high,
        gained=gained,
        lost=lost,
        mcnemar_p=exact_p(gained, lost),
        accepted_frac=float(other.accepted.mean()),
        wrong_frac=float((other.accepted & ~other.right).mean()),
    )


def exact_p(gained: int, lost: int) -> float:
    """McNemar's exact two-sided p: the two readers are equally good."""
    return float(binomtest(gained, gained + lost).pvalue) if gained + lost else 1.0


@dataclass(frozen=True, slots=True)
class Spread:
    """A number over several seeds."""

    mean: float
    deviation: float  # standard deviation with N - 1; 0 of one seed
    low: float
    high: float


def spread(values: Sequence[float]) -> Spread:
    """Mean, standard deviation and range."""
    found = np.array(values)
    deviation = float(found.std(ddof=1)) if len(found) > 1 else 0.0
    return Spread(float(found.mean()), deviation, float(found.min()), float(found.max()))


def draw_changed(first: Mapping[str, SetAnswers], other: Mapping[str, SetAnswers]) -> bytes | None:
    """Crops that one run reads right and the other wrong, two rows a set, as PNG bytes.

    Crops of the highest wrong confidence come first; at most NUM_COLUMNS a row.

    Returns:
        None where no crop changed sides.
    """
    rows = []
    for name in first:
        if name not in other:
            continue
        for title, good, bad in (
            (f"{name}: gained", other[name], first[name]),
            (f"{name}: lost", first[name], other[name]),
        ):
            changed = np.flatnonzero(good.right & ~bad.right)
            if len(changed):
                rows.append((f"{title} {len(changed)}", bad, changed))
    if not rows:
        return None
    figure = Figure(figsize=(NUM_COLUMNS * 0.8, 1.05 * len(rows)), layout="constrained")
    cells = figure.subplots(len(rows), NUM_COLUMNS, squeeze=False)
    for axes in cells.flat:
        axes.set_axis_off()
    for line, (title, bad, changed) in zip(cells, rows, strict=True):
        worst = changed[np.argsort(-bad.confidence[changed], kind="stable")][:NUM_COLUMNS]
        line[0].set_title(title, fontsize=7, loc="left", y=1.22)
        for axes, crop, row in zip(line, _wrong_images(bad, worst), worst, strict=False):
            axes.imshow(crop, cmap="gray_r", vmin=0, vmax=255)
            axes.text(
                0.5,
                1.02,
                f"{bad.labels[row]} as {bad.digits[row]}, {bad.confidence[row]:.2f}",
                fontsize=5.5,
                ha="center",
                transform=axes.transAxes,
            )
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=110, metadata={"Software": None})
    return file.getvalue()


def _wrong_images(part: SetAnswers, rows: NDArray[np.intp]) -> NDArray[np.uint8]:
    """The kept images of rows that are wrong, in the order of the rows."""
    place = np.cumsum(~part.right) - 1
    images: NDArray[np.uint8] = part.wrong_images[place[rows]]
    return images
