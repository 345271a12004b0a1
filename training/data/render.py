"""Render the training pool: scanner crops, damaged ones and garbage, framed as in serving.

Renders in worker processes, in chunks that have a seed each, so that the pool depends on the seed
and not on the number of processes. Knows nothing about networks.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from model.errors import BlankCrop
from model.preprocess import frame
from training.data import damage, garbage, styles
from training.data.corruptions import Crop
from training.data.datasets import LabelledImages
from training.data.garbage import Material
from training.data.scanner import Scanner, scan
from training.data.warp import geometry, warp

GARBAGE_LABEL = 255
DAMAGED = 100  # added to the label of a damaged digit
CHUNK = 250  # crops; small enough that the canvases of a chunk stay in the cache


@dataclass(frozen=True, slots=True)
class RenderConfig:
    """The parts of the pool."""

    num_crops: int = 400_000
    garbage_frac: float = 0.11
    damaged_frac: float = 0.19
    plain_frac: float = 0.12  # of the digits: MNIST as plain crops, without corruptions
    glyph_frac: float = 0.18  # of the digits: printed, when fonts are found
    style_frac: float = 0.25  # of the digits that have styles: slash, bar, loop, flag
    severity: tuple[float, float] = (1.0, 4.0)
    scanner: Scanner = field(default_factory=lambda: Scanner(coarse_prob=0.3))
    num_processes: int = 2


@dataclass(frozen=True, slots=True)
class Sources:
    """The images that crops are drawn from."""

    digits: LabelledImages  # MNIST
    glyphs: LabelledImages | None  # printed digits, any resolution
    letters: NDArray[np.uint8] | None  # (N, S, S) printed characters that are no digit


PLAIN = Scanner(
    height_px=(16, 80),
    margin_frac=(0.05, 0.4),
    clip_prob=0,
    neighbour_prob=0,
    num_corruptions=(0, 0),
)


UNDAMAGED = Scanner(
    height_px=(12, 110),
    clip_prob=0,
    neighbour_prob=0.05,
    light_on_dark_prob=0,
    num_corruptions=(0, 1),
)
ORDINARY = Scanner(height_px=(12, 110), clip_prob=0.05, num_corruptions=(0, 2))


def render_pool(
    sources: Sources, config: RenderConfig, *, seed: int, label: str = "render"
) -> LabelledImages:
    """Render the pool with a progress bar.

    Args:
        sources: images to draw from.
        config: size and parts of the pool.
        seed: same seed, same pool.
        label: of the progress bar.

    Returns:
        images (num_crops, 28, 28) uint8 as the model sees them; labels uint8: a digit, the digit
        plus DAMAGED, or GARBAGE_LABEL where there is not one digit.
    """
    num_chunks = -(-config.num_crops // CHUNK)
    seeds = np.random.SeedSequence(seed).spawn(num_chunks)
    with tqdm(total=num_chunks * CHUNK, desc=label, unit="crop") as bar:
        parts = []
        for part in _run(sources, config, seeds):
            parts.append(part)
            bar.update(CHUNK)
    images = np.concatenate([part.images for part in parts])[: config.num_crops]
    labels = np.concatenate([part.labels for part in parts])[: config.num_crops]
    return LabelledImages(images, labels)


_worker_state: tuple[Sources, RenderConfig] | None = None  # set once in each worker process


def _run(
    sources: Sources, config: RenderConfig, seeds: list[np.random.SeedSequence]
) -> Iterator[LabelledImages]:
    if config.num_processes == 1:
        for seed in seeds:
            yield render_chunk(sources, config, np.random.default_rng(seed))
        return
    context = multiprocessing.get_context("spawn")
    with context.Pool(config.num_processes, _start_worker, (sources, config)) as pool:
        yield from pool.imap(_render_in_worker, seeds)


def _start_worker(sources: Sources, config: RenderConfig) -> None:
    global _worker_state  # noqa: PLW0603 - a pool initialiser cannot return a value
    torch.set_num_threads(1)
    _worker_state = (sources, config)


def _render_in_worker(seed: np.random.SeedSequence) -> LabelledImages:
    assert _worker_state is not None
    return render_chunk(*_worker_state, np.random.default_rng(seed))


def render_chunk(
    sources: Sources, config: RenderConfig, rng: np.random.Generator
) -> LabelledImages:
    """Render `CHUNK` crops: digits, damaged ones, then garbage, each framed as serving does."""
    num_garbage = round(CHUNK * config.garbage_frac)
    num_damaged = round(CHUNK * config.damaged_frac)
    crops, labels = _digit_crops(sources, config, CHUNK - num_garbage - num_damaged, rng)
    damaged_crops, damaged_labels = _damaged_crops(sources, config, num_damaged, rng)
    crops += damaged_crops
    crops += garbage.draw(Material(sources.digits, sources.letters), num_garbage, rng)
    labels = np.concatenate([labels, damaged_labels, np.full(num_garbage, GARBAGE_LABEL, np.uint8)])
    images = np.zeros((CHUNK, 28, 28), np.uint8)
    for row, crop in enumerate(crops):
        try:
            images[row] = np.rint(frame(crop).image[0] * 255)
        except BlankCrop:
            labels[row] = GARBAGE_LABEL  # the image stays black: the crop has no ink
    return LabelledImages(images, labels)


def _digit_crops(
    sources: Sources, config: RenderConfig, num_crops: int, rng: np.random.Generator
) -> tuple[list[NDArray[np.uint8]], NDArray[np.uint8]]:
    num_plain = round(num_crops * config.plain_frac)
    num_glyphs = round(num_crops * config.glyph_frac) if sources.glyphs is not None else 0
    num_written = num_crops - num_plain - num_glyphs
    crops: list[NDArray[np.uint8]] = []
    labels: list[NDArray[np.uint8]] = []
    for source, num, scanner in (
        (sources.digits, num_plain, PLAIN),
        (sources.digits, num_written, config.scanner),
        (sources.glyphs, num_glyphs, config.scanner),
    ):
        if source is None or num == 0:
            continue
        chosen = rng.integers(len(source), size=num)
        severity = 0.0 if scanner is PLAIN else float(rng.uniform(*config.severity))
        images, truth = source.images[chosen], source.labels[chosen]
        if source is sources.digits:
            images = styles.write(images, truth, config.style_frac, rng)
        canvases = warp(images, geometry(severity), rng)
        crops += _scan_all(canvases, scanner, rng)
        labels.append(truth)
    return crops, np.concatenate(labels)


def _damaged_crops(
    sources: Sources, config: RenderConfig, num_crops: int, rng: np.random.Generator
) -> tuple[list[NDArray[np.uint8]], NDArray[np.uint8]]:
    """Damaged digits: written, printed, and a fifth of them in MNIST's own frame.

    Returns:
        crops; labels: the digit plus DAMAGED, or GARBAGE_LABEL.
    """
    if num_crops == 0:
        return [], np.zeros(0, np.uint8)
    num_glyphs = round(num_crops * config.glyph_frac) if sources.glyphs is not None else 0
    num_raw = num_crops // 5
    crops: list[NDArray[np.uint8]] = []
    labels: list[int] = []
    for source, num in ((sources.digits, num_crops - num_glyphs), (sources.glyphs, num_glyphs)):
        if source is None or num == 0:
            continue
        chosen = rng.integers(len(source), size=num)
        canvases = warp(source.images[chosen], geometry(float(rng.uniform(0, 2))), rng)
        crops += [scan(canvas, UNDAMAGED, rng) for canvas in canvases]
        labels += source.labels[chosen].tolist()
    raw = rng.integers(len(sources.digits), size=num_raw)
    crops[:num_raw] = list(255 - sources.digits.images[raw])
    labels[:num_raw] = sources.digits.labels[raw].tolist()
    damaged = []
    for row, crop in enumerate(crops):
        changed, has_one_digit = damage.damage(crop, labels[row], crops, rng)
        damaged.append(255 - changed if rng.random() < 0.2 else changed)
        labels[row] = labels[row] + DAMAGED if has_one_digit else GARBAGE_LABEL
    return damaged, np.array(labels, np.uint8)


def _scan_all(
    canvases: Crop, scanner: Scanner, rng: np.random.Generator
) -> list[NDArray[np.uint8]]:
    neighbours = np.roll(canvases, 1, axis=0)
    return [
        scan(canvas, scanner, rng, neighbour=neighbour)
        for canvas, neighbour in zip(canvases, neighbours, strict=True)
    ]


def render_digits(
    digits: LabelledImages, *, severity: float, seed: int
) -> tuple[list[NDArray[np.uint8]], NDArray[np.uint8]]:
    """Each digit once as a scanner crop of up to one severity: the `rendered` evaluation sets.

    Returns:
        crops and labels, in the order given.
    """
    rng = np.random.default_rng(seed)
    scanner = replace(ORDINARY, severity=(0.0, severity))
    crops: list[NDArray[np.uint8]] = []
    for start in range(0, len(digits), CHUNK):
        part = digits.images[start : start + CHUNK]
        crops += _scan_all(warp(part, geometry(severity), rng), scanner, rng)
    return crops, digits.labels


def frame_all(
    crops: list[NDArray[np.uint8]],
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Preprocess crops as serving does.

    Returns:
        batch (N, 1, 28, 28) float32, black where the crop is blank; mask (N,), True where blank.
    """
    batch = np.zeros((len(crops), 1, 28, 28), np.float32)
    blank = np.zeros(len(crops), np.bool_)
    for row, crop in enumerate(crops):
        try:
            batch[row] = frame(crop).image
        except BlankCrop:
            blank[row] = True
    return batch, blank
