"""Predicts how long a batch takes, from the batches before it."""

import math
from typing import Final

_DECAY: Final = 0.9  # weight of the past per batch: remembers about ten batches
_FIRST_GUESS_S: Final = 0.001  # for a batch, before the first measurement
_MIN_SIZE_VARIANCE: Final = 0.01  # below it, the cost per item cannot be measured


class BatchTimeModel:
    """Fits seconds = fixed + per_item * n to measured batches, with exponential forgetting.

    While all batches have one size, per_item cannot be measured, so the last measured value stays.
    Without that, after an hour of single crops a burst would be predicted to take ten times too
    long, and an idle machine would refuse it.
    """

    def __init__(self) -> None:
        self._weight = self._sum_items = self._sum_seconds = 0.0
        self._sum_items_squared = self._sum_items_seconds = 0.0
        self._per_item = math.inf  # the last measured value

    def update(self, num_items: int, seconds: float) -> None:
        """Add one measured batch."""
        self._weight = _DECAY * self._weight + 1.0
        self._sum_items = _DECAY * self._sum_items + num_items
        self._sum_seconds = _DECAY * self._sum_seconds + seconds
        self._sum_items_squared = _DECAY * self._sum_items_squared + num_items * num_items
        self._sum_items_seconds = _DECAY * self._sum_items_seconds + num_items * seconds
        mean_n = self._sum_items / self._weight
        variance = self._sum_items_squared / self._weight - mean_n * mean_n
        if variance > _MIN_SIZE_VARIANCE:
            covariance = (self._sum_items_seconds - mean_n * self._sum_seconds) / self._weight
            self._per_item = max(covariance / variance, 0.0)

    def predict(self, num_items: int, batch_size: int) -> float:
        """Seconds that `num_items` take in batches of at most `batch_size`."""
        num_batches = math.ceil(num_items / batch_size)
        if self._weight == 0.0:
            return _FIRST_GUESS_S * num_batches
        mean_n, mean_s = self._sum_items / self._weight, self._sum_seconds / self._weight
        # Before per_item is measured, use the mean per item. It is too high rather than too low,
        # because larger batches cost less per item.
        per_item = min(self._per_item, mean_s / mean_n)
        fixed = mean_s - per_item * mean_n
        return fixed * num_batches + per_item * num_items
