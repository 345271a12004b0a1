"""Digit probabilities -> the most probable postcodes.

A beam search over positions keeps the most probable prefixes. A list of valid codes removes the
prefixes that cannot be completed; a pattern removes the codes that do not match. Impossible codes
get no mass, and the rest is normalised. So a code that the list makes unambiguous has a high
confidence even if one of its digits has a low one.
Knows nothing of crops or HTTP.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import TextIOWrapper
from pathlib import Path
from typing import Final

import numpy as np
import re2
from numpy.typing import NDArray

from serving.config import ConfigError
from serving.regular_file import open_regular

MIN_DIGITS: Final = 2
MAX_DIGITS: Final = 12
NUM_CODES: Final = 10  # that are ranked
MIN_POSSIBLE_FRAC: Final = 0.1  # of the digits' joint mass that possible codes must have
MAX_CODES: Final = 1_000_000
MAX_FILE_BYTES: Final = 33_554_432
MAX_PATTERN_CHARS: Final = 64
BEAM: Final = 2048  # prefixes kept per position; the pruned mass is below 1e-6 in practice
_FLOOR: Final = 1e-15  # a prefix below this mass cannot change the result
_PATTERN_MEMORY_BYTES: Final = 1 << 17
MAX_MATCHING_MS: Final = 50.0  # of processor time, for all codes of one request


class PatternError(ValueError):
    """The pattern is too long, is no regular expression, or takes too long to match."""


class PostcodesError(ConfigError):
    """The file of valid postcodes cannot be used."""


@dataclass(frozen=True, slots=True)
class CodeCandidate:
    """A possible code, and its share of the mass of all possible codes."""

    code: str
    probability: float


@dataclass(frozen=True, slots=True)
class CodeRanking:
    """The possible codes, most probable first, and how much of the digits' mass they have."""

    candidates: list[CodeCandidate]
    possible_frac: float  # of the digits' joint mass; impossible codes have the rest


class Postcodes:
    """The valid codes, grouped by length; 8 bytes per code.

    Args:
        codes_by_length: for each length, sorted unique codes as integers.
    """

    def __init__(self, codes_by_length: dict[int, NDArray[np.int64]]) -> None:
        self._codes = codes_by_length

    def __len__(self) -> int:
        return sum(len(codes) for codes in self._codes.values())

    @property
    def num_digits(self) -> tuple[int, int]:
        """Digits of the shortest and of the longest code."""
        return min(self._codes), max(self._codes)

    def possible(
        self, prefixes: NDArray[np.int64], num_left: int, length: int
    ) -> NDArray[np.bool_]:
        """(P,) bool: the prefix and `num_left` more digits can be a valid code."""
        codes = self._codes.get(length)
        if codes is None:
            return np.zeros(len(prefixes), dtype=np.bool_)
        scale = 10**num_left
        first = np.searchsorted(codes, prefixes * scale)
        last = np.searchsorted(codes, (prefixes + 1) * scale)
        possible: NDArray[np.bool_] = last > first
        return possible

    def agreeing(self, digits: Sequence[int | None], limit: int) -> list[str] | None:
        """The valid codes that have these digits; None: more than `limit`.

        Args:
            digits: at each place a digit, or None where it is open.
            limit: of the answer.
        """
        length = len(digits)
        codes = self._codes.get(length, np.empty(0, np.int64))
        num_leading = next((at for at, one in enumerate(digits) if one is None), length)
        leading = int("".join(map(str, digits[:num_leading])) or 0)
        scale = 10 ** (length - num_leading)
        codes = codes[slice(*np.searchsorted(codes, (leading * scale, (leading + 1) * scale)))]
        for place in range(num_leading, length):
            if (digit := digits[place]) is not None:
                codes = codes[codes // 10 ** (length - place - 1) % 10 == digit]
        if len(codes) > limit:
            return None
        return [f"{code:0{length}d}" for code in codes.tolist()]


def load_postcodes(path: Path) -> Postcodes:
    """Read a file of codes, one per line; skip blank lines.

    Raises:
        PostcodesError: a line is not 2 to 12 digits, or there are no codes, or over 1,000,000.
    """
    codes: dict[int, list[int]] = {}
    num_codes = 0
    try:
        with TextIOWrapper(open_regular(path, MAX_FILE_BYTES), encoding="ascii") as lines:
            for number, line in enumerate(lines, start=1):
                code = line.strip()
                if not code:
                    continue
                if not code.isdigit() or not MIN_DIGITS <= len(code) <= MAX_DIGITS:
                    raise PostcodesError(
                        f"DIGITS_POSTCODES: {path.name} line {number}: {code[:20]!r} is not a "
                        f"code of {MIN_DIGITS} to {MAX_DIGITS} digits"
                    )
                num_codes += 1
                if num_codes > MAX_CODES:
                    raise PostcodesError(
                        f"DIGITS_POSTCODES: {path.name} has more than {MAX_CODES} codes"
                    )
                codes.setdefault(len(code), []).append(int(code))
    except (OSError, UnicodeDecodeError) as error:
        raise PostcodesError(f"DIGITS_POSTCODES: {path} cannot be read: {error}") from error
    if not codes:
        raise PostcodesError(
            f"DIGITS_POSTCODES: {path.name} holds no code; unset DIGITS_POSTCODES to allow all"
        )
    return Postcodes(
        {length: np.unique(np.array(some, dtype=np.int64)) for length, some in codes.items()}
    )


class Pattern:
    """A regular expression that a whole code must match.

    RE2 matches it in time linear in the code's length, whatever the caller's expression is. But an
    expression of 64 characters can have thousands of states: "(.?){999}". So its memory is limited,
    and the caller limits the time of all matches.

    Raises:
        PatternError: longer than 64 characters, or not a regular expression.
    """

    def __init__(self, text: str) -> None:
        if len(text) > MAX_PATTERN_CHARS:
            raise PatternError(
                f"the pattern has {len(text)} characters; at most {MAX_PATTERN_CHARS} are allowed"
            )
        options = re2.Options()
        options.log_errors = False
        options.max_mem = _PATTERN_MEMORY_BYTES
        options.never_capture = True  # groups make a match up to fifty times as long
        try:
            self._expression = re2.compile(text, options)
        except (re2.error, UnicodeEncodeError) as error:
            reason = error.args[0]
            reason = reason.decode(errors="replace") if isinstance(reason, bytes) else str(error)
            raise PatternError(f"the pattern {text!r} cannot be read: {reason}") from error

    def matches(self, code: str) -> bool:
        """Whether the whole code matches."""
        # re2's wrapper takes five times as long for a str.
        return self._expression.fullmatch(code.encode()) is not None


@dataclass(frozen=True, slots=True)
class CodeDecision:
    """A code, accepted or not, and what else it may be."""

    rejected_because: str | None  # None: accepted
    candidates: list[CodeCandidate]


def decide_code(
    probs: Sequence[Sequence[float] | None],
    reasons: Sequence[str | None],
    threshold: float,
    *,
    valid: Postcodes | None,
    pattern: Pattern | None = None,
) -> CodeDecision:
    """Accept a code that is complete, possible and probable enough.

    The threshold is the one for a digit. The error target is meant for each result that a machine
    acts on, and here that is the whole code.

    Args:
        probs: for each of 2 to 12 positions, the probabilities of the ten digits; None: blank.
        reasons: why each digit is not accepted; None: it is.
        threshold: least probability.
        valid: the possible codes; None: all are possible.
        pattern: of the codes that the caller takes.

    Raises:
        PatternError: matching takes more than 50 ms.
    """
    is_held = "site_on_hold" in reasons
    read = [one for one in probs if one is not None]
    if len(read) < len(probs):
        return CodeDecision("site_on_hold" if is_held else "blank", [])
    ranking = rank_codes(read, top_k=NUM_CODES, valid=valid, pattern=pattern)
    candidates = ranking.candidates
    reason = None
    if is_held:
        reason = "site_on_hold"
    # The digits form an impossible code. The nearest possible one would be a guess.
    elif not candidates or ranking.possible_frac < MIN_POSSIBLE_FRAC:
        reason = "no_valid_code"
    elif "not_a_digit" in reasons:
        reason = "not_a_digit"
    elif candidates[0].probability < threshold:
        reason = "low_confidence"
    return CodeDecision(reason, candidates)


def rank_codes(
    probs: Sequence[Sequence[float]],
    *,
    top_k: int,
    valid: Postcodes | None = None,
    pattern: Pattern | None = None,
    clock: Callable[[], float] = time.thread_time,
) -> CodeRanking:
    """Rank the possible codes.

    Args:
        probs: for each of 2 to 12 positions, the probabilities of the ten digits.
        top_k: how many codes to return at most.
        valid: only these codes are possible; None: all codes are possible.
        pattern: only codes that match are possible; None: all codes are possible.
        clock: seconds of processor time, for the limit of the matching.

    Returns:
        The candidates, normalised over all possible codes; none if no possible code has any mass.
        Mass pruned by the beam is counted as possible, so that no confidence is too high. Also the
        possible share of the mass. When that share is small, the digits were read as an impossible
        code, even if normalisation gives the first candidate a high probability.

    Raises:
        PatternError: matching takes more than 50 ms.
    """
    length = len(probs)
    prefixes = np.zeros(1, dtype=np.int64)
    mass = np.ones(1)
    unexplored = 0.0
    for position, row in enumerate(probs):
        prefixes = (prefixes[:, np.newaxis] * 10 + np.arange(10)).ravel()
        mass = (mass[:, np.newaxis] * np.asarray(row, dtype=np.float64)).ravel()
        if valid is not None:
            possible = valid.possible(prefixes, length - position - 1, length)
            prefixes, mass = prefixes[possible], mass[possible]
        keep = mass > _FLOOR
        unexplored += float(mass[~keep].sum())
        prefixes, mass = prefixes[keep], mass[keep]
        if len(mass) > BEAM:
            # In ascending order of prefixes: searches in the list of valid codes are then local.
            best = np.sort(np.argpartition(mass, -BEAM)[-BEAM:])
            unexplored += float(mass.sum() - mass[best].sum())
            prefixes, mass = prefixes[best], mass[best]
    order = np.argsort(-mass, kind="stable")
    pairs = [
        (f"{prefix:0{length}d}", share)
        for prefix, share in zip(prefixes[order].tolist(), mass[order].tolist(), strict=True)
    ]
    if pattern is not None:
        matches = within_time(pattern, clock)
        pairs = [pair for pair in pairs if matches(pair[0])]
    total = sum(share for _, share in pairs) + unexplored
    candidates = [CodeCandidate(code, share / total) for code, share in pairs[:top_k]]
    return CodeRanking(candidates, min(total, 1.0))


def within_time(
    pattern: Pattern, clock: Callable[[], float] = time.thread_time
) -> Callable[[str], bool]:
    """Whether a code matches; the function raises PatternError 50 ms after its first call.

    Call it on one thread.

    Args:
        pattern: that a whole code must match.
        clock: seconds of processor time.
    """
    end_s: float | None = None
    tried = 0

    def matches(code: str) -> bool:
        nonlocal end_s, tried
        now_s = clock()
        if end_s is None:
            end_s = now_s + MAX_MATCHING_MS / 1e3
        elif now_s > end_s:
            raise PatternError(
                f"{tried} codes took more than {MAX_MATCHING_MS:g} ms to match; "
                "give a pattern with fewer repetitions"
            )
        tried += 1
        return pattern.matches(code)

    return matches
