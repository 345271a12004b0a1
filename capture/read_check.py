"""Asks the shipper whether crops were captured. The service can read neither Parquet nor S3.

The shipper listens on a socket in the spool (`capture.read_answers`). One line of JSON goes each
way: [[read_id, crop_index], ...], and a word of ANSWERS for each. Standard library only, because
the service imports it.
"""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

SOCKET: Final = "reads.sock"  # in the spool
KNOWN, NO_READ, NO_CROP = "known", "no_read", "no_crop"
UNCHECKED: Final = "unchecked"  # the shipper or the archive cannot tell now
ANSWERS: Final = (KNOWN, NO_READ, NO_CROP, UNCHECKED)
MAX_LINE_BYTES: Final = 1024 * 1024
_TIMEOUT_S: Final = 1.0  # half of the time to an answer
_PART_BYTES: Final = 65_536


def check_reads(spool: Path, keys: Sequence[tuple[str, int]]) -> list[str]:
    """A word of ANSWERS for each (read_id, crop_index); takes a second at most.

    Where no shipper runs, or it needs longer, all are UNCHECKED.
    """
    give_up_s = time.monotonic() + _TIMEOUT_S
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(_TIMEOUT_S)
            connect(connection, spool)
            connection.sendall(json.dumps(keys).encode() + b"\n")
            words = json.loads(read_line(connection, give_up_s))
    except (OSError, ValueError):
        return [UNCHECKED] * len(keys)
    is_whole = isinstance(words, list) and len(words) == len(keys)
    return [word if word in ANSWERS else UNCHECKED for word in words] if is_whole else (
        [UNCHECKED] * len(keys)
    )  # fmt: skip


def connect(connection: socket.socket, spool: Path) -> None:
    """Connect by the folder's descriptor: a socket's path may have 107 bytes only."""
    folder = os.open(spool, os.O_RDONLY | os.O_DIRECTORY)
    try:
        connection.connect(f"/proc/self/fd/{folder}/{SOCKET}")
    finally:
        os.close(folder)


def read_line(connection: socket.socket, give_up_s: float) -> bytes:
    """Read up to a newline.

    Raises:
        OSError: it did not come before `give_up_s`, or is too long.
    """
    line = b""
    while not line.endswith(b"\n"):
        left_s = give_up_s - time.monotonic()
        if left_s <= 0 or len(line) > MAX_LINE_BYTES:
            raise TimeoutError(f"no line within the time; {len(line)} bytes came")
        connection.settimeout(left_s)
        part = connection.recv(_PART_BYTES)
        if not part:
            raise ConnectionError(f"the line ends after {len(line)} bytes")
        line += part
    return line
