"""What outlives a killed supervisor: the port that its workers still serve, and their metrics.

It imports only the standard library, as the supervisor does.
"""

import contextlib
import fcntl
import os
import shutil
import socket
import tempfile
from ipaddress import ip_address
from pathlib import Path
from typing import Final

METRICS_PREFIX: Final = "digits-metrics-locked-"
# Of each connection, for an answer that is not read; the kernel's own limit is 4 MB.
SEND_BUFFER_BYTES: Final = 65_536
ANSWERS_WITHIN_S: Final = 2.0


def bind(host: str, port: int) -> socket.socket:
    """Create a socket and bind it.

    Raises:
        OSError: the address is in use, or not one of this machine.
    """
    family = socket.AF_INET6 if ip_address(host).version == 6 else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
        listener.bind((host, port))
    except OSError:
        listener.close()
        raise
    return listener


def is_digitline(host: str, port: int) -> bool:
    """Whether a Digitline answers at an address: its workers outlive a killed supervisor."""
    try:
        with socket.create_connection((host, port), ANSWERS_WITHIN_S) as connection:
            connection.sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
            return b"x-model-version:" in connection.recv(4096)
    except OSError:
        return False


def make_locked_folder(parent: Path | None = None) -> tuple[str, int]:
    """Make a folder for metrics; its path, and a descriptor that locks it while it is open.

    The supervisor and its workers hold the descriptor, so the lock ends with the last of them.
    """
    while True:
        folder = tempfile.mkdtemp(prefix=METRICS_PREFIX, dir=parent or _shared_memory())
        try:
            lock = os.open(folder, os.O_RDONLY)
        except FileNotFoundError:  # removed as stale before it was locked
            continue
        fcntl.flock(lock, fcntl.LOCK_EX)
        if os.path.isdir(folder):  # noqa: PTH112  else removed in between
            return folder, lock
        os.close(lock)


def remove_stale_folders(parent: Path | None = None) -> list[str]:
    """Remove metrics of supervisors that were killed: folders that no process has locked."""
    removed = []
    for folder in (parent or _shared_memory()).glob(f"{METRICS_PREFIX}*"):
        with contextlib.suppress(OSError):  # locked, another user's, or removed meanwhile
            lock = os.open(folder, os.O_RDONLY)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder)
                removed.append(str(folder))
            finally:
                os.close(lock)
    return removed


def _shared_memory() -> Path:
    """A folder in memory, if there is one, so that a full disk does not break the metrics."""
    folder = Path("/dev/shm")  # noqa: S108  a mount point
    return folder if os.access(folder, os.W_OK) else Path(tempfile.gettempdir())
