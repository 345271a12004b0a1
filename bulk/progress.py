"""Progress for people: a bar on a terminal, else a line every half minute."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable
from typing import Final, Self, TextIO

from tqdm import tqdm

EVERY_S: Final = 30.0


class Progress:
    """Counts inputs of `total`, of which `done` were read by an earlier run."""

    def __init__(
        self,
        total: int,
        done: int,
        *,
        out: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._out = out or sys.stderr
        self._clock = clock
        self._total, self._done, self._before = total, done, done
        self._errors = 0
        self._begun = self._written = clock()
        columns, lines = shutil.get_terminal_size()  # 80, 24 where the terminal tells 0
        self._bar = (
            tqdm(
                total=total,
                initial=done,
                unit=" crops",
                unit_scale=True,
                file=self._out,
                ncols=columns,
                nrows=lines,
            )
            if self._out.isatty()
            else None
        )

    def add(self, number: int, errors: int) -> None:
        """Count inputs that were read, and how many of them are errors."""
        self._done += number
        self._errors += errors
        if self._bar is not None:
            self._bar.set_postfix(errors=self._errors, refresh=False)
            self._bar.update(number)
        elif self._clock() - self._written >= EVERY_S:
            self._written = self._clock()
            self._out.write(f"{self.line()}\n")
            self._out.flush()

    def line(self) -> str:
        """How far it is, how fast, and how long it will take."""
        rate = (self._done - self._before) / max(self._clock() - self._begun, 1e-9)
        left = f"{duration((self._total - self._done) / rate)} left" if rate else "time not known"
        return (
            f"{self._done:,} of {self._total:,} crops, {rate:,.0f}/s, {left}, "
            f"{self._errors:,} errors"
        )

    def __enter__(self) -> Self:
        """Progress from now on."""
        return self

    def __exit__(self, *_: object) -> None:
        """Leave the bar as it is."""
        if self._bar is not None:
            self._bar.close()


def duration(seconds: float) -> str:
    """Seconds for people: 45 s, 12 min, 3 h 20 min."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"
