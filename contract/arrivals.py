"""When mail arrives: what load tests, the capacity simulator and the console's plant page share."""

from typing import Final

# Share of the sustained rate in each hour of the day: low at night, trucks at 06:00 and 15:00.
DAY: Final = (
    *(0.02, 0.02, 0.02, 0.02, 0.05, 0.3, 1.0, 1.0, 0.8, 0.5, 0.3, 0.3),
    *(0.3, 0.4, 0.8, 1.0, 1.0, 0.7, 0.4, 0.2, 0.1, 0.05, 0.02, 0.02),
)
TRUCK_EVERY_S: Final = 900
TRUCK_S: Final = 120  # of each period a truck unloads, at the peak rate
IDLE_FRAC: Final = 1 / 30  # of the peak, between two trucks: 10 of 300 requests/s
