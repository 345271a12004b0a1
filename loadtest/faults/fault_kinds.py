"""The faults that clients are judged under. Pure: what is done to a request, and when."""

import time
from dataclasses import dataclass
from typing import Final, Literal

Action = Literal["delay", "reset", "half", "stall", "unavailable", "swallow", "cut"]
HOST: Final = "digits.test"  # the name that clients look up; nobody owns it


@dataclass(frozen=True, slots=True)
class Fault:
    """What happens to requests. Every process of a run sees the same windows.

    `share` of the requests meet one of `actions`, while the fault is on: the first `on_s` of every
    `period_s` seconds; always, if `on_s` is None.
    """

    name: str
    label: str
    actions: tuple[Action, ...] = ()
    share: float = 1.0
    on_s: float | None = None
    period_s: float = 5.0
    delay_s: float = 0.0
    loses_names: bool = False  # the client's resolver waits and then fails
    moves_clock: bool = False  # the client's wall clock jumps by an hour, to and fro

    def is_on(self, now: float | None = None) -> bool:
        """Whether it is on; `now` is time.monotonic(), one clock for all processes of a machine."""
        if self.on_s is None:
            return True
        return (time.monotonic() if now is None else now) % self.period_s < self.on_s


FAULTS: Final = {
    fault.name: fault
    for fault in (
        Fault("calm", "none"),
        Fault("slow", "5 % of requests wait 300 ms", ("delay",), share=0.05, delay_s=0.3),
        Fault("resets", "10 % of connections are reset, half after the answer was made",
              ("reset", "cut"), share=0.1),
        Fault("half", "10 % of answers end in the middle, half of them without a close",
              ("half", "stall"), share=0.1),
        Fault("storm", "503 with Retry-After 1, 2 of 5 s", ("unavailable",), on_s=2.0),
        Fault("silence", "nothing comes back, 2 of 5 s", ("swallow",), on_s=2.0),
        Fault("dns", "names not found (after 3 s), 20 % of connections reset, 2 of 5 s",
              ("reset",), share=0.2, on_s=2.0, loses_names=True),
        Fault("clock", "the scanner's clock jumps an hour each second", moves_clock=True),
    )
}  # fmt: skip
