"""Each round of the benchmark measures every server once, in a different order."""

from contextlib import nullcontext
from types import SimpleNamespace

from loadtest.bench.measurements import interleave


def contender(name):
    return SimpleNamespace(server=SimpleNamespace(name=name), turn=nullcontext)


def test_each_round_measures_all_in_another_order():
    names = list("abcdef")
    order = []

    def measure(one):
        order.append(one.server.name)
        return {"p99_ms": float(len(order))}

    results = interleave([contender(name) for name in names], 5, measure, lambda _: None)
    rounds = [tuple(order[start : start + 6]) for start in range(0, 30, 6)]
    assert all(sorted(one) == names for one in rounds)
    assert len(set(rounds)) == 5
    assert len({one[0] for one in rounds}) > 1
    assert all(len(results[name]["p99_ms"]["rounds"]) == 5 for name in names)


def test_two_runs_have_the_same_orders():
    printed = [[], []]
    for lines in printed:
        interleave([contender(name) for name in "abcd"], 3, lambda _: {"x": 1.0}, lines.append)
    assert printed[0] == printed[1]
