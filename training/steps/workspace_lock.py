"""One command at a time writes into a work folder. Edge: holds a lock file in it.

Two that write at once would leave a candidate whose weights are one fit's and whose numbers are
another's.
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from training.step_error import StepError

NAME = "lock"


@contextmanager
def hold(folder: Path) -> Iterator[None]:
    """Hold a work folder's lock, which ends with the process, even when it is killed.

    Raises:
        StepError: another command holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / NAME).open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise StepError(
                f"another training command writes into {folder}; wait until it ends, or name "
                "another folder with --work"
            ) from error
        yield
