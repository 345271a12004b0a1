"""The valid codes that a letter's known digits leave open."""

from __future__ import annotations

from typing import Final

from console.keying.letters import Letter
from serving.api.codes import MAX_DIGITS, MIN_DIGITS, Postcodes

MAX_OPEN: Final = 500


def open_codes(directory: Postcodes | None, letter: Letter) -> list[str] | None:
    """The codes that agree with the digits shown; None where the directory cannot help.

    It cannot where there is none, the letter is no code, a crop of it is missing or has no digit,
    no digit is known, no code agrees, or more than 500 do.
    """
    digits = [one.digit for one in letter.crops]
    is_whole = [one.crop_index for one in letter.crops] == list(range(len(digits)))
    if directory is None or not is_whole or not MIN_DIGITS <= len(digits) <= MAX_DIGITS:
        return None
    if letter.is_blind or not any(digits) or "?" in digits:
        return None
    codes = directory.agreeing([None if one is None else int(one) for one in digits], MAX_OPEN)
    return codes or None
