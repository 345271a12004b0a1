"""Scores a share of the answered crops with a challenger, off the hot path.

The champion's batches only put crops into a bounded queue. A thread of its own reads them while
the batcher has nothing to do. Under load the queue fills, and crops are dropped and counted.
"""

import threading
import time
import zlib
from collections import deque
from collections.abc import Callable, Collection, Sequence
from typing import Final, NamedTuple

import numpy as np
import structlog
from numpy.typing import NDArray

from model.decision import Decision, decide
from serving.messages import Compared, Reading
from serving.reading.batch_reading import ReadRequest
from serving.served_model import ServedModel

QUEUE_LIMIT: Final = 256  # images, 3 KB each
STALE_S: Final = 5.0  # a crop that has waited for longer is dropped: its record is shipped soon
FEW: Final = 4  # crops in one call: a request that arrives meanwhile waits for no more
_BUSY_WAIT_S: Final = 0.01
_SALT: Final = zlib.crc32(b"challenger")
log = structlog.get_logger()


class _Offered(NamedTuple):
    """What the challenger needs of an answered crop.

    Not the request nor the reading: those hold the body and the crop, megabytes each.
    """

    since_s: float  # of time.monotonic()
    read_id: str
    crop_index: int
    champion_version: str
    champion: Decision
    image: NDArray[np.float32]


class Shadow:
    """Reads crops with a challenger when the champion is idle.

    Args:
        challenger: a verified model.
        frac: share of the reads that it reads too, chosen by a hash of the read id.
        persist: writes what was compared; called on this object's thread.
        on_compared: counts the comparisons; likewise.
        on_dropped: counts crops that were dropped.
    """

    def __init__(
        self,
        challenger: ServedModel,
        frac: float,
        persist: Callable[[Sequence[Compared]], None],
        on_compared: Callable[[Sequence[Compared]], None],
        on_dropped: Callable[[int], None],
    ) -> None:
        self._challenger = challenger
        self._below = int(frac * 2**32)
        self._persist = persist
        self._on_compared = on_compared
        self._on_dropped = on_dropped
        self._queue: deque[_Offered] = deque()
        self._has_crops = threading.Event()
        self._is_closed = False

    def start(self, is_idle: Callable[[], bool]) -> None:
        """Start the thread.

        Args:
            is_idle: whether the champion has nothing to read.
        """
        threading.Thread(target=self._work, args=(is_idle,), name="shadow", daemon=True).start()

    def offer(
        self,
        requests: Sequence[ReadRequest],
        outcomes: Sequence[Reading | Exception],
        failed: Collection[int],
    ) -> None:
        """Queue the chosen crops of a batch; called on the batcher's thread, after the records.

        Args:
            requests: of the batch.
            outcomes: theirs; only readings with ink are chosen.
            failed: places in the batch that have no record.
        """
        num_dropped = 0
        now_s = time.monotonic()
        for place, (one, outcome) in enumerate(zip(requests, outcomes, strict=True)):
            if (
                one.request is None
                or not one.is_mail
                or not isinstance(outcome, Reading)
                or outcome.image is None
                or zlib.crc32(one.request.read_id.encode(), _SALT) >= self._below
                or place in failed
            ):
                continue
            if len(self._queue) >= QUEUE_LIMIT:
                num_dropped += 1
            else:
                self._queue.append(
                    _Offered(
                        now_s,
                        one.request.read_id,
                        one.crop_index,
                        one.model.version,
                        outcome.decision,
                        outcome.image.copy(),  # it may be a part of a large tensor
                    )
                )
        if self._queue:
            self._has_crops.set()
        if num_dropped:
            self._on_dropped(num_dropped)

    def close(self) -> None:
        """Stop after the crops that are being read."""
        self._is_closed = True
        self._has_crops.set()

    def _work(self, is_idle: Callable[[], bool]) -> None:
        while not self._is_closed:
            self._has_crops.wait()
            if not is_idle():
                time.sleep(_BUSY_WAIT_S)
                continue
            self._has_crops.clear()
            few = self._take()
            if self._queue:
                self._has_crops.set()
            if few:
                try:
                    self._read(few)
                except Exception:  # a challenger must not affect the service
                    log.exception("the challenger failed", version=self._challenger.version)
                    self._on_dropped(len(few))

    def _take(self) -> list[_Offered]:
        """Take the oldest crops; drop the stale."""
        few: list[_Offered] = []
        num_stale, now_s = 0, time.monotonic()
        while self._queue and len(few) < FEW:
            one = self._queue.popleft()
            if now_s - one.since_s > STALE_S:
                num_stale += 1
            else:
                few.append(one)
        if num_stale:
            self._on_dropped(num_stale)
        return few

    def _read(self, few: Sequence[_Offered]) -> None:
        model = self._challenger
        decisions = decide(model.classifier(np.stack([one.image for one in few])), model.policy)
        compared = [
            Compared(
                one.read_id,
                one.crop_index,
                one.champion_version,
                one.champion,
                decision,
                model.version,
            )
            for one, decision in zip(few, decisions, strict=True)
        ]
        self._on_compared(compared)
        self._persist(compared)
