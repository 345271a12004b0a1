"""The day that `watch` goes by, while the wall clock jumps."""

from datetime import date, timedelta

from monitoring.steady_day import SteadyDay

TODAY = date(2026, 11, 20)
DAY_S = 86_400


class Machine:
    """Its time passes evenly; its wall clock is `ahead_days` wrong."""

    def __init__(self):
        self.elapsed_s, self.ahead_days = 1000.0, 0
        self.steady = SteadyDay(lambda: self.elapsed_s)

    def look(self):
        days = int((self.elapsed_s - 1000) // DAY_S) + self.ahead_days
        return (self.steady.day(TODAY + timedelta(days)) - TODAY).days


def test_it_follows_the_clock_day_by_day():
    machine, found = Machine(), []
    for _ in range(3 * 24):
        found.append(machine.look())
        machine.elapsed_s += 3600
    assert found == [0] * 24 + [1] * 24 + [2] * 24


def test_an_hour_of_a_clock_that_is_a_year_ahead_moves_no_day():
    machine = Machine()
    machine.look()
    machine.ahead_days = 365
    assert [machine.look() for _ in range(12)] == [0] * 12
    machine.ahead_days = 0
    assert machine.look() == 0


def test_a_clock_that_stays_is_believed_after_a_day():
    machine = Machine()
    machine.look()
    machine.ahead_days, found = 365, []
    for _ in range(26):
        machine.elapsed_s += 3600
        found.append(machine.look())
    assert (found[0], found[-1]) == (0, 366)


def test_a_clock_that_is_set_back_is_believed_at_once():
    machine = Machine()
    machine.look()
    machine.ahead_days = -30
    assert machine.look() == -30


def test_a_machine_that_slept_for_days_has_the_right_day_at_once():
    machine = Machine()
    machine.look()
    machine.elapsed_s += 5 * DAY_S
    assert machine.look() == 5
