import numpy as np
import pytest

from serving.reading.fair_queue import FairQueue


def take(queue):
    job = queue.head()
    queue.pop()
    return job


def backlog(queue, sender, num_jobs, cost_s):
    for number in range(num_jobs):
        queue.push(sender, (sender, number, cost_s), 1, cost_s)


def served_s(queue, seconds):
    """Seconds that each sender got in this much time."""
    got = {}
    while seconds > 0 and (job := queue.head()) is not None:
        queue.pop()
        got[job[0]] = got.get(job[0], 0.0) + job[2]
        seconds -= job[2]
    return got


def test_senders_with_costs_100_to_1_get_equal_time():
    queue = FairQueue()
    backlog(queue, "costly", 100, 1.0)
    backlog(queue, "cheap", 10_000, 0.01)
    got = served_s(queue, 60.0)
    assert got["costly"] == pytest.approx(got["cheap"], abs=1.0)


@pytest.mark.parametrize("seed", range(10))
def test_no_backlogged_sender_is_ahead_by_more_than_one_job_of_each(seed):
    """Theorem 1 of the paper, for equal weights."""
    rng = np.random.default_rng(seed)
    queue, longest = FairQueue(), {}
    for sender in range(4):
        costs = rng.exponential(10.0 ** rng.integers(-3, 1), 3000)
        longest[sender] = costs.max()
        for cost_s in costs:
            queue.push(sender, (sender, cost_s), 1, cost_s)
    got = dict.fromkeys(longest, 0.0)
    for _ in range(2000):
        sender, cost_s = take(queue)
        got[sender] += cost_s
        for one in got:
            for other in got:
                assert got[one] - got[other] <= longest[one] + longest[other] + 1e-9


def test_a_late_sender_is_next():
    queue = FairQueue()
    backlog(queue, "hog", 1000, 1.0)
    for _ in range(10):
        take(queue)
    backlog(queue, "late", 1, 0.01)
    assert "late" in {take(queue)[0], take(queue)[0]}


def test_one_sender_alone_gets_all_in_order_of_arrival():
    queue = FairQueue()
    backlog(queue, "a", 100, 1.0)
    assert [take(queue)[1] for _ in range(100)] == list(range(100))
    assert queue.head() is None


def test_a_sender_that_was_idle_gets_no_credit():
    queue = FairQueue()
    backlog(queue, "busy", 1000, 1.0)
    backlog(queue, "idle", 1, 1.0)
    for _ in range(500):
        take(queue)
    backlog(queue, "idle", 400, 1.0)
    got = served_s(queue, 400.0)
    assert got["busy"] == pytest.approx(200.0, abs=2.0)


def test_after_a_rest_nobody_owes_anything():
    queue = FairQueue()
    backlog(queue, "a", 1, 100.0)
    take(queue)
    queue.rest()
    backlog(queue, "a", 10, 1.0)
    backlog(queue, "b", 10, 1.0)
    assert served_s(queue, 10.0) == {"a": 5.0, "b": 5.0}


def test_a_dropped_job_is_not_charged():
    queue = FairQueue()
    backlog(queue, "a", 20, 1.0)
    backlog(queue, "b", 20, 1.0)
    for _ in range(10):  # half of a's jobs have lost their callers
        while queue.head()[0] != "a":
            queue.pop()
        queue.drop()
    assert queue.num_items_of("a") == 10
    before = {"a": 0, "b": 20 - queue.num_items_of("b")}
    got = served_s(queue, 10.0)
    assert got["a"] == pytest.approx(5.0 + before["b"] / 2, abs=1.0)


@pytest.mark.parametrize("is_waiting", [False, True])
def test_a_job_that_took_longer_is_charged_afterwards(is_waiting):
    queue = FairQueue()
    backlog(queue, "liar", 1 + 100 * is_waiting, 0.01)
    backlog(queue, "honest", 100, 1.0)
    take(queue)
    queue.charge("liar", 10.0)
    if not is_waiting:
        backlog(queue, "liar", 100, 0.01)
    first = [take(queue)[0] for _ in range(10)]
    assert first.count("honest") >= 8


def test_a_charge_also_moves_the_job_that_waits():
    queue = FairQueue()
    backlog(queue, "liar", 3, 0.01)
    backlog(queue, "honest", 5, 1.0)
    while take(queue)[0] != "liar":
        pass
    queue.charge("liar", 10.0)
    assert [take(queue)[0] for _ in range(3)] == ["honest"] * 3


def test_counts_and_costs_follow_the_jobs():
    queue = FairQueue()
    queue.push("a", "x", 3, 0.3)
    queue.push("a", "y", 2, 0.2)
    queue.push("b", "z", 1, 0.1)
    assert (queue.num_items, queue.num_items_of("a"), queue.num_items_of("c")) == (6, 5, 0)
    assert queue.cost_s == pytest.approx(0.6)
    assert len(queue) == 2
    while queue.head() is not None:
        queue.pop()
    assert (queue.num_items, queue.cost_s, len(queue)) == (0, 0.0, 0)


def test_the_predicted_work_before_a_job_is_what_the_queue_then_does():
    queue = FairQueue()
    backlog(queue, "hog", 500, 1.0)
    backlog(queue, "a", 3, 0.5)
    predicted_s = queue.cost_before_s("a", 0.5)
    backlog(queue, "a", 1, 0.5)
    waited_s = 0.0
    while (job := take(queue))[:2] != ("a", 0) or waited_s == 0.0 or queue.num_items_of("a"):
        waited_s += job[2]
    assert predicted_s == pytest.approx(waited_s, abs=1.5)


def test_a_newcomer_waits_for_one_job_of_a_hog_at_most():
    queue = FairQueue()
    backlog(queue, "hog", 500, 0.005)
    assert queue.cost_before_s("late", 0.001) <= 0.005
    assert queue.cost_before_s("hog", 0.005) == pytest.approx(2.5)


def test_senders_that_ended_are_forgotten():
    queue = FairQueue()
    for number in range(10_000):
        queue.push(number, number, 1, 0.001)
        take(queue)
        queue.rest()
    assert queue.num_remembered < 1_000
