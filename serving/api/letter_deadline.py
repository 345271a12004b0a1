"""X-Deadline-Ms: how long the letter waits for its answer, also for a person's."""

from collections.abc import Mapping
from typing import Final

from serving.problems import Problem

HEADER: Final = b"x-deadline-ms"
MAX_MS: Final = 3_600_000  # an hour; a letter that waits longer is in a tray, not on a belt
_MAX_DIGITS: Final = len(str(MAX_MS))


def letter_deadline_ms(headers: Mapping[bytes, bytes]) -> int | None:
    """Milliseconds from the request's arrival; None: the letter does not wait.

    Raises:
        Problem: 400, it is not a whole number from 1 to an hour.
    """
    text = headers.get(HEADER)
    if text is None:
        return None
    if not text.isdigit() or len(text) > _MAX_DIGITS or not 1 <= int(text) <= MAX_MS:
        raise Problem(
            400,
            f"X-Deadline-Ms is {text[:20].decode('latin-1')!r}; give whole milliseconds from 1 to "
            f"{MAX_MS}, or leave it out",
            closes_connection=True,
        )
    return int(text)
