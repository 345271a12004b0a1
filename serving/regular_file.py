"""Opens the files that settings name: regular files of a bounded size only.

A FIFO or a device in place of a file would block its reader, or never end. A link to a regular file
is fine: secrets are mounted so.
"""

import os
import stat
from pathlib import Path
from typing import BinaryIO, Final

_KINDS: Final = {
    stat.S_IFIFO: "a FIFO",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFDIR: "a directory",
}


def open_regular(path: Path, max_bytes: int) -> BinaryIO:
    """Open a file for reading, without waiting for a writer.

    Raises:
        OSError: it cannot be opened, is no regular file, or has more than `max_bytes`.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            kind = _KINDS.get(stat.S_IFMT(status.st_mode), "of another kind")
            raise OSError(f"it is {kind}; give a regular file")
        if status.st_size > max_bytes:
            raise OSError(f"it has {status.st_size} bytes; at most {max_bytes} are read")
    except BaseException:
        os.close(descriptor)
        raise
    return os.fdopen(descriptor, "rb")
