"""When a facility sends: what load tests and the capacity simulator share."""

from typing import Final

# Share of the sustained rate in each hour of the day: low at night, trucks at 06:00 and 15:00.
DAY: Final = (
    *(0.02, 0.02, 0.02, 0.02, 0.05, 0.3, 1.0, 1.0, 0.8, 0.5, 0.3, 0.3),
    *(0.3, 0.4, 0.8, 1.0, 1.0, 0.7, 0.4, 0.2, 0.1, 0.05, 0.02, 0.02),
)
