"""How long a batch takes, learned from the batches before it."""

import math
from typing import Final

_FORGET: Final = 0.9  # weight of the past in the batch time estimate: about ten batches
_FIRST_GUESS_S: Final = 0.001  # a batch, before any was measured
_ALIKE: Final = 0.01  # variance of batch sizes below which they tell nothing of an item's part


class BatchTimeModel:
    """Learns seconds = fixed + per_item * n from measured batches, forgetting old ones.

    While all batches are alike, what one more item costs is not seen. It stays as it was last
    measured: after an hour of single crops a burst would look ten times as long as it is, and be
    refused by an idle machine.
    """

    def __init__(self) -> None:
        self._weight = self._n = self._s = self._nn = self._ns = 0.0
        self._per_item = math.inf  # as last measured

    def update(self, num_items: int, seconds: float) -> None:
        """Learn from one batch."""
        self._weight = _FORGET * self._weight + 1.0
        self._n = _FORGET * self._n + num_items
        self._s = _FORGET * self._s + seconds
        self._nn = _FORGET * self._nn + num_items * num_items
        self._ns = _FORGET * self._ns + num_items * seconds
        mean_n = self._n / self._weight
        variance = self._nn / self._weight - mean_n * mean_n
        if variance > _ALIKE:
            covariance = (self._ns - mean_n * self._s) / self._weight
            self._per_item = max(covariance / variance, 0.0)

    def predict(self, num_items: int, batch_size: int) -> float:
        """Seconds that `num_items` take in batches of at most `batch_size`."""
        num_batches = math.ceil(num_items / batch_size)
        if self._weight == 0.0:
            return _FIRST_GUESS_S * num_batches
        mean_n, mean_s = self._n / self._weight, self._s / self._weight
        # Never measured: charge the mean per item, which errs on the safe side, since larger
        # batches are cheaper per item.
        per_item = min(self._per_item, mean_s / mean_n)
        fixed = mean_s - per_item * mean_n
        return fixed * num_batches + per_item * num_items
