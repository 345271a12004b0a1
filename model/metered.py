"""A file that stops its reader when decoding takes too much CPU time.

Compressed data can hide work: an empty deflate block of 12 bytes takes 1.7 us, so two megabytes of
them take 280 ms and give no pixel. No header tells, so the time is looked at between small reads.
"""

import io
import time
from typing import Final

from model.decode_cost import MAX_DECODE_MS
from model.errors import CropSizeError

# The decoder asks for so few bytes at a time. Deflate makes at most 1,032 bytes of one, and
# unpacking a megabyte takes 10 ms: the work between two looks at the clock.
READ_BYTES: Final = 1024
OVERSHOOT_MS: Final = 12.0


class MeteredFile(io.BytesIO):
    """Bytes to decode, within a CPU time of the calling thread.

    Args:
        data: the file.
        end_s: of `time.thread_time()`, after which its decoder may read no more.
    """

    def __init__(self, data: bytes, end_s: float) -> None:
        super().__init__(data)
        self._end_s = end_s

    def read(self, size: int | None = -1, /) -> bytes:
        """Read as a file does.

        Raises:
            CropSizeError: the time is over.
        """
        if time.thread_time() > self._end_s:
            raise CropSizeError(
                f"the file takes too long to unpack (a file may take {MAX_DECODE_MS:.0f} ms in "
                "all); save it smaller, in 8-bit grey, or with another program"
            )
        return super().read(size)
