"""A site's mail, crop by crop, over a year: seasons, days, mailings, letters. Pure.

Real mail comes in runs: a sender's letters share a pen, a printer, an envelope and often one
postcode. Runs make false alarms, so they are drawn here openly, harder than we know them to be. How
hard a crop is to read is drawn by choosing rows of a pool: tilt 0 is the pool itself, and each unit
of tilt weighs a row by e to the power of its hardness.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

CODE_DIGITS: Final = 5
DAYS: Final = 365
_STEP: Final = 0.05
_MOST_TILT: Final = 2.0


@dataclass(frozen=True, slots=True)
class MailModel:
    """How unlike each other mail of one site is; tilts are in units of hardness."""

    season_tilt: float = 0.15  # amplitude over the year; December is the hardest
    day_tilt: float = 0.08  # standard deviation between days
    sender_tilt: float = 0.35  # between senders of mailings
    letter_tilt: float = 0.5  # between letters
    mailing_share: float = 0.5  # of letters that belong to a mailing
    mailing_letters: int = 300  # median
    mailing_spread: float = 1.0  # of the logarithm of their number
    one_code_share: float = 0.25  # of mailings that repeat one postcode
    season_mix: float = 0.3  # how far the mix of digits moves over the year


class MailStream:
    """Draws a site's crops from a pool.

    Args:
        digits: (N,) of the pool's rows.
        hardness: (N,) standardised.
        model: how unlike each other mail is.
        seed: of the site.
    """

    def __init__(
        self,
        digits: NDArray[np.int64],
        hardness: NDArray[np.float64],
        model: MailModel,
        seed: int,
    ) -> None:
        self._model = model
        self._rng = np.random.default_rng(seed)
        tilts = np.arange(-_MOST_TILT, _MOST_TILT + _STEP / 2, _STEP)
        self._rows = [np.flatnonzero(digits == digit) for digit in range(10)]
        self._cumulated = []
        for rows in self._rows:
            weights = np.exp(np.outer(tilts, hardness[rows]))
            sums = np.cumsum(weights, axis=1)
            self._cumulated.append(sums / sums[:, -1:])
        self._num_tilts = len(tilts)
        self._winter, self._summer = self._rng.dirichlet([20.0] * 10, 2)

    def days(self, crops_a_day: int, num_days: int = DAYS) -> Iterator[NDArray[np.int64]]:
        """The pool's rows of each day's crops, in the order in which they arrive."""
        start = int(self._rng.integers(DAYS))
        for day in range(num_days):
            yield self.day(crops_a_day, (start + day) % DAYS)

    def day(self, num_crops: int, day: int) -> NDArray[np.int64]:
        """The pool's rows of one day; day 0 is in the hardest season."""
        model, rng = self._model, self._rng
        season = np.cos(2 * np.pi * day / DAYS)
        base = model.season_tilt * season + rng.normal(0, model.day_tilt)
        moved = model.season_mix * (1 + season) / 2
        mix = (1 - moved) * self._summer + moved * self._winter
        digits: list[NDArray[np.int64]] = []
        tilts: list[NDArray[np.float64]] = []
        num_drawn = 0
        while num_drawn < num_crops:
            drawn, tilt = self._letters(mix)
            digits.append(drawn.ravel())
            tilts.append(np.repeat(base + tilt, CODE_DIGITS))
            num_drawn += drawn.size
        return self._choose(np.concatenate(digits)[:num_crops], np.concatenate(tilts)[:num_crops])

    def _letters(self, mix: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Some letters in a row: digits (L, 5), and the tilt of each letter (L,)."""
        model, rng = self._model, self._rng
        num = int(
            np.clip(rng.lognormal(np.log(model.mailing_letters), model.mailing_spread), 10, 5_000)
        )
        tilt = np.zeros(num)
        one_code = False
        if rng.random() < model.mailing_share:
            tilt += rng.normal(0, model.sender_tilt)
            one_code = rng.random() < model.one_code_share
        tilt += rng.normal(0, model.letter_tilt, num)
        digits = rng.choice(10, (1 if one_code else num, CODE_DIGITS), p=mix)
        return np.broadcast_to(digits, (num, CODE_DIGITS)), tilt

    def _choose(self, digits: NDArray[np.int64], tilts: NDArray[np.float64]) -> NDArray[np.int64]:
        places = np.clip(np.rint((tilts + _MOST_TILT) / _STEP), 0, self._num_tilts - 1).astype(int)
        keys = digits * self._num_tilts + places
        order = np.argsort(keys, kind="stable")
        found, starts = np.unique(keys[order], return_index=True)
        chosen = np.empty(len(digits), np.int64)
        for key, part in zip(found, np.split(order, starts[1:]), strict=True):
            digit, place = divmod(int(key), self._num_tilts)
            spots = np.searchsorted(self._cumulated[digit][place], self._rng.random(len(part)))
            chosen[part] = self._rows[digit][np.minimum(spots, len(self._rows[digit]) - 1)]
        return chosen
