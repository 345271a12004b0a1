"""Predicts how long a batch takes, from its predicted cost and the batches before it."""

import math
from typing import Final

_DECAY: Final = 0.9  # weight of the past per batch: remembers about ten batches
_FIRST_GUESS_S: Final = 0.001  # for a batch, before the first measurement
_MIN_SPREAD: Final = 0.2  # of the costs, relative to their mean; below it the scale is unmeasurable


class BatchTimeModel:
    """Fits seconds = fixed + scale * cost to measured batches, with exponential forgetting.

    The cost is a prediction from the sizes of the crops; the scale corrects it for this machine.
    While all batches cost about the same, the scale cannot be measured, so the last measured value
    stays. Without that, after an hour of single crops a burst would be predicted to take ten times
    too long, and an idle machine would refuse it.
    """

    def __init__(self) -> None:
        self._weight = self._sum_cost = self._sum_seconds = 0.0
        self._sum_cost_squared = self._sum_cost_seconds = 0.0
        self._measured = math.inf  # the last measured scale
        self.scale = 1.0  # seconds here for a predicted second, without a batch's fixed part
        self._fixed_s = _FIRST_GUESS_S  # of each batch

    def update(self, cost_s: float, seconds: float) -> None:
        """Add one measured batch.

        Args:
            cost_s: its predicted cost, above 0.
            seconds: that it took.
        """
        self._weight = _DECAY * self._weight + 1.0
        self._sum_cost = _DECAY * self._sum_cost + cost_s
        self._sum_seconds = _DECAY * self._sum_seconds + seconds
        self._sum_cost_squared = _DECAY * self._sum_cost_squared + cost_s * cost_s
        self._sum_cost_seconds = _DECAY * self._sum_cost_seconds + cost_s * seconds
        mean = self._sum_cost / self._weight
        variance = self._sum_cost_squared / self._weight - mean * mean
        if variance > (_MIN_SPREAD * mean) ** 2:
            covariance = (self._sum_cost_seconds - mean * self._sum_seconds) / self._weight
            self._measured = max(covariance / variance, 0.0)
        # Before the scale is measured, use the mean. It is too high rather than too low, because
        # larger batches cost less per crop.
        self.scale = min(self._measured, self._sum_seconds / self._sum_cost)
        self._fixed_s = (self._sum_seconds - self.scale * self._sum_cost) / self._weight

    def predict(self, cost_s: float, num_batches: int) -> float:
        """Seconds that work of this predicted cost takes in so many batches."""
        return self._fixed_s * num_batches + self.scale * cost_s
