from serving.shares import SharedPool


def fill(pool, sender, amount=1.0):
    num = 0
    while pool.take(sender, amount):
        num += 1
    return num


def test_one_sender_alone_gets_half():
    assert fill(SharedPool(100), "a") == 50


def test_a_sender_that_comes_last_finds_room():
    pool = SharedPool(1000)
    for hog in range(5):
        fill(pool, hog)
    assert fill(pool, "late") >= 10


def test_busy_senders_converge_to_equal_parts():
    pool = SharedPool(900)
    for sender in ("a", "b"):
        fill(pool, sender)
    for _ in range(1000):  # a request of each ends, and each sends as much as it may
        for sender in ("a", "b"):
            pool.give_back(sender, 1.0)
            fill(pool, sender)
    assert 290 <= pool.held_by("b") <= pool.held_by("a") <= 310


def test_what_is_given_back_is_free_again():
    pool = SharedPool(10)
    assert pool.take("a", 5.0)
    pool.give_back("a", 5.0)
    assert (pool.total, len(pool)) == (0.0, 0)
    assert pool.take("b", 5.0)


def test_a_refused_take_changes_nothing():
    pool = SharedPool(10)
    assert not pool.take("a", 5.5)
    assert (pool.total, len(pool)) == (0.0, 0)
