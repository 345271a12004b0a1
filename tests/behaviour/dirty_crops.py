"""Measure how digits are read that a scanner or a form made dirty: edges, boxes, shadows, grids.

    PYTHONPATH=. python tests/behaviour/dirty_crops.py .cache/mnist --digits 500

The same with PYTHONPATH set to another checkout measures that one. Each row takes some seconds.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from model.artifact import load
from model.classifier import Classifier
from model.decision import decide
from model.framed import Framed
from model.preprocess import frame_many
from training.data.mnist_files import TEST_IMAGES, TEST_LABELS, read_idx

SEED = 20261126
HEIGHT_PX, MARGIN_PX, PAPER, PEN, GRAIN = 70, 23, 243.0, 25.0, 4.0

Grey = NDArray[np.float64]  # (H, W), 0 to 255, before the scanner's grain
Damage = Callable[[Grey, np.random.Generator], Grey]


def draw(digit: NDArray[np.uint8], margin_px: int) -> Grey:
    """A digit of MNIST, 70 px high, as dark ink on light paper."""
    rows, columns = np.flatnonzero(digit.max(1) > 40), np.flatnonzero(digit.max(0) > 40)
    cut = digit[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    width = max(6, round(cut.shape[1] * HEIGHT_PX / cut.shape[0]))
    large = Image.fromarray(cut).resize((width, HEIGHT_PX), Image.Resampling.BICUBIC)
    return PAPER - (PAPER - PEN) * np.pad(np.asarray(large) / 255.0, margin_px)


def clean(grey: Grey, rng: np.random.Generator) -> Grey:
    return grey


def inverted(damage: Damage) -> Damage:
    return lambda grey, rng: 255.0 - damage(grey, rng)


def scan_edge(thick_px: int, *sides: int, num_sides: int = 1) -> Damage:
    """A dark bar along given or random sides: 0 top, 1 bottom, 2 left, 3 right."""

    def damage(grey: Grey, rng: np.random.Generator) -> Grey:
        chosen = sides or tuple(rng.permutation(4)[:num_sides])
        level = rng.uniform(0, 30)
        for side in chosen:
            bar = np.s_[:thick_px] if side % 2 == 0 else np.s_[-thick_px:]
            grey[bar if side < 2 else (slice(None), bar)] = level
        return grey

    return damage


def box(thick_px: int, inset_px: int, sides: str = "tblr") -> Damage:
    def damage(grey: Grey, rng: np.random.Generator) -> Grey:
        inner = grey[inset_px : len(grey) - inset_px, inset_px : grey.shape[1] - inset_px]
        bars = {
            "t": np.s_[:thick_px],
            "b": np.s_[-thick_px:],
            "l": np.s_[:, :thick_px],
            "r": np.s_[:, -thick_px:],
        }
        for side in sides:
            inner[bars[side]] = PEN
        return grey

    return damage


def light(deepest: float, darkest: float, *, is_hard: bool) -> Damage:
    """A shadow's edge, or a gradient, across the crop in a random direction."""

    def damage(grey: Grey, rng: np.random.Generator) -> Grey:
        angle, level = rng.uniform(0, 2 * np.pi), rng.uniform(deepest, darkest)
        down, along = (np.indices(grey.shape).T / grey.shape - 0.5).T
        place = down * np.sin(angle) + along * np.cos(angle)
        if is_hard:
            return grey * np.where(place > rng.uniform(-0.2, 0.2), level, 1.0)
        return grey * (1.0 - (1.0 - level) * (place - place.min()) / np.ptp(place))

    return damage


def lines(step_px: int, thick_px: int, level: float, *, is_grid: bool) -> Damage:
    def damage(grey: Grey, rng: np.random.Generator) -> Grey:
        for axis in (grey, grey.T) if is_grid else (grey,):
            for start in range(int(rng.integers(step_px)), len(axis), step_px):
                axis[start : start + thick_px] = np.minimum(axis[start : start + thick_px], level)
        return grey

    return damage


def fax(grey: Grey, rng: np.random.Generator) -> Grey:
    """1-bit, with pixels twice as high as wide."""
    small = Image.fromarray(grey.astype(np.uint8)).resize(
        (grey.shape[1], len(grey) // 2), Image.Resampling.BOX
    )
    return np.where(np.asarray(small) + rng.normal(0, 17, small.size[::-1]) < 134, 0.0, 255.0)


KINDS: dict[str, tuple[int, Damage]] = {
    "clean": (MARGIN_PX, clean),
    "no margin": (0, clean),
    "no margin, light on dark": (0, inverted(clean)),
    "scan edge 12 px": (MARGIN_PX, scan_edge(12)),
    "scan edge 22 px": (MARGIN_PX, scan_edge(22)),
    "scan edge 30 px": (MARGIN_PX + 10, scan_edge(30)),
    "scan edge 26 px that touches the digit": (MARGIN_PX, scan_edge(26)),
    "corner, 12 px": (MARGIN_PX, scan_edge(12, 0, 2)),
    "two sides of four, 12 px": (MARGIN_PX, scan_edge(12, num_sides=2)),
    "three sides, 12 px": (MARGIN_PX, scan_edge(12, 0, 2, 3)),
    "box on the border, 4 px": (MARGIN_PX, box(4, 0)),
    "box on the border, light on dark": (MARGIN_PX, inverted(box(4, 0))),
    "box inside, 2 px": (MARGIN_PX, box(2, 6)),
    "top and left rule, 6 px": (MARGIN_PX, box(6, 0, "tl")),
    "hard shadow": (MARGIN_PX, light(0.3, 0.6, is_hard=True)),
    "gradient of 75 %": (MARGIN_PX, light(0.25, 0.25, is_hard=False)),
    "dark grid, 24 px": (MARGIN_PX, lines(24, 1, 60, is_grid=True)),
    "thick rules, 5 px": (MARGIN_PX, lines(58, 5, 40, is_grid=False)),
    "fax": (MARGIN_PX, fax),
}


def measure(
    damage: Damage, margin_px: int, images: NDArray[np.uint8], labels: NDArray[np.uint8]
) -> tuple[float, float, int]:
    """Accepted %, right %, number accepted and wrong; a refused crop counts as neither."""
    rng = np.random.default_rng(SEED)
    crops = []
    for digit in images:
        grey = damage(draw(digit, margin_px), rng)
        grain = rng.normal(0, GRAIN, grey.shape) if damage is not fax else 0.0
        crops.append(np.clip(grey + grain, 0, 255).astype(np.uint8))
    framed = frame_many(crops)
    kept = [row for row, one in enumerate(framed) if isinstance(one, Framed)]
    artifact = load()
    batch = np.stack([one.image for one in framed if isinstance(one, Framed)])
    decisions = decide(Classifier(artifact.onnx_bytes)(batch), artifact.policy())
    accepted = np.array([decision.accepted for decision in decisions])
    is_right = np.array([decision.digit for decision in decisions]) == labels[kept]
    percent = 100.0 / len(images)
    return percent * accepted.sum(), percent * is_right.sum(), int((accepted & ~is_right).sum())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("mnist", type=Path, help="folder of MNIST's test files")
    parser.add_argument("--digits", type=int, default=500)
    arguments = parser.parse_args()
    images = read_idx(arguments.mnist / TEST_IMAGES)
    labels = read_idx(arguments.mnist / TEST_LABELS)
    chosen = np.random.default_rng(SEED).permutation(len(images))[: arguments.digits]
    print("| crops | accepted % | right % | accepted and wrong |\n| --- | --- | --- | --- |")
    for name, (margin_px, damage) in KINDS.items():
        accepted, right, wrong = measure(damage, margin_px, images[chosen], labels[chosen])
        print(f"| {name} | {accepted:.1f} | {right:.1f} | {wrong} |", flush=True)


if __name__ == "__main__":
    main()
