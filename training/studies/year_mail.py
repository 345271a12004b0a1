"""Twelve months of mail of several offices, from labelled crops: who sends what, when. Pure.

Sites are made by shifts of pen and scanner; the crops are real. `synthetic_mail` makes crops from
MNIST where there are none.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from monitoring.studies import scanner_faults
from training.data import render, styles
from training.data.datasets import LabelledImages

Crop = NDArray[np.uint8]
Shift = Callable[[Crop], Crop]

NEW_SITE, NEW_SITE_MONTH = "essen", 5
NEW_PEN_SITE, NEW_PEN_MONTH = "dresden", 4
DIRTY_SITE, DIRTY_MONTH, DIRTY_FRAC = "bonn", 8, 0.4  # the last part of the month
DIRTY_FAULT = "stripe and blur"
SITE_SHARES = MappingProxyType({"bonn": 0.5, "cologne": 0.25, "dresden": 0.25})
NEW_SITE_SHARE = 0.2
STYLED_FRAC = 0.4  # of synthetic mail


@dataclass(frozen=True, slots=True)
class LabelledCrops:
    """Crops as a scanner sends them, dark ink on light paper, with their true digits."""

    crops: list[Crop]
    labels: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, rows: NDArray[np.intp]) -> LabelledCrops:
        """The chosen rows, in the order given."""
        return LabelledCrops([self.crops[row] for row in rows], self.labels[rows])


@dataclass(frozen=True, slots=True)
class YearMail:
    """All mail of a year, in the order in which it arrives."""

    mail: LabelledCrops
    sites: NDArray[np.str_]  # (N,)
    months: NDArray[np.intp]  # (N,) from 1
    dirty: NDArray[np.bool_]  # (N,) sent while the scanner was dirty


def plan(mail: LabelledCrops, *, num_months: int, seed: int) -> YearMail:
    """Shuffle crops into months and sites, and shift each as its site's pen and scanner do."""
    rng = np.random.default_rng(seed)
    shuffled = mail.take(rng.permutation(len(mail)))
    num = len(shuffled)
    months = np.arange(num) * num_months // num + 1
    sites = rng.choice(list(SITE_SHARES), num, p=list(SITE_SHARES.values()))
    is_new = (months >= NEW_SITE_MONTH) & (rng.random(num) < NEW_SITE_SHARE)
    sites = np.where(is_new, NEW_SITE, sites)
    dirty = np.zeros(num, np.bool_)
    rows = np.flatnonzero((months == DIRTY_MONTH) & (sites == DIRTY_SITE))
    dirty[rows[round(len(rows) * (1 - DIRTY_FRAC)) :]] = True
    crops = [
        _shift(crop, str(site), int(month))
        for crop, site, month in zip(shuffled.crops, sites, months, strict=True)
    ]
    for row in np.flatnonzero(dirty):
        fault = scanner_faults.FAULTS[DIRTY_FAULT]
        crops[row] = scanner_faults.apply(fault, [crops[row]], seed=int(row))[0]
    return YearMail(LabelledCrops(crops, shuffled.labels), sites, months, dirty)


def _shift(crop: Crop, site: str, month: int) -> Crop:
    if site == NEW_PEN_SITE and month >= NEW_PEN_MONTH:
        crop = _felt_pen(crop)
    return SCANNERS[site](crop)


def _felt_pen(crop: Crop) -> Crop:
    side = max(2, round(min(crop.shape) / 30))
    thick: Crop = ndimage.grey_erosion(crop, size=(side, side))
    return thick


def _coarse(crop: Crop) -> Crop:
    """A scanner of half the resolution."""
    smaller = ndimage.zoom(ndimage.gaussian_filter(crop.astype(float), 0.8), 1 / 2, order=1)
    return _as_crop(smaller)


def _grey(crop: Crop) -> Crop:
    """Grey ink on grey paper, a little out of focus."""
    blurred = ndimage.gaussian_filter(crop.astype(float), min(crop.shape) / 60)
    return _as_crop(70 + blurred * (190 - 70) / 255)


def _pale(crop: Crop) -> Crop:
    """A worn lamp: thin strokes get lighter."""
    blurred = ndimage.gaussian_filter(crop.astype(float), min(crop.shape) / 40)
    return _as_crop(110 + blurred * (235 - 110) / 255)


def _as_crop(grey: NDArray[np.float64]) -> Crop:
    crop: Crop = np.rint(np.clip(grey, 0, 255)).astype(np.uint8)
    return crop


SCANNERS: Mapping[str, Shift] = MappingProxyType(
    {"bonn": lambda crop: crop, "cologne": _coarse, "dresden": _grey, NEW_SITE: _pale}
)


def synthetic_mail(digits: LabelledImages, *, seed: int) -> LabelledCrops:
    """Mail for machines without any: MNIST digits, some in writing styles, as scanner crops."""
    rng = np.random.default_rng(seed)
    images = styles.write(digits.images, digits.labels, STYLED_FRAC, rng)
    crops, labels = render.render_digits(
        LabelledImages(images, digits.labels), severity=2, seed=seed
    )
    return LabelledCrops(crops, labels)


def fingerprint(crop: Crop) -> str:
    """Names a crop in the list of those that are mislabelled in their source."""
    return hashlib.sha256(repr(crop.shape).encode() + crop.tobytes()).hexdigest()[:16]
