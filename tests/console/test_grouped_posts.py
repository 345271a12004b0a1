"""Labels of concurrent requests: stored together, answered each for itself."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from keyed_mail import letter, store

from console.keying import grouped_posts
from console.keying.grouped_posts import GroupedPosts
from console.keying.label_posts import Post, SentLabel, store_labels
from console.keying.leases import lease
from console.keying.letter_store import writing
from console.sessions import SignedIn

NOW_US = 1_790_000_000_000_000
NUM = 8


@pytest.fixture
def posts_of(console):
    """posts_of(write) -> (GroupedPosts, one post of each of eight persons who hold a letter)."""
    store(console, *(letter("?", time_us=NOW_US + at) for at in range(NUM)))
    posts = []
    for at in range(NUM):
        person = SignedIn(f"p{at}", "leeds", frozenset({"label"}), f"csrf {at}")
        with writing(console) as database:
            (row,) = lease(database, person, 1, NOW_US + NUM)
        posts.append(Post(person, [SentLabel(row.read_id, 0, "7", NOW_US + NUM)], NOW_US + NUM))
    return lambda write: (GroupedPosts(console, write), posts)


def test_posts_that_arrive_while_others_are_stored_are_one_group(posts_of, monkeypatch):
    written, goes_on, has_begun = [], threading.Event(), threading.Event()

    def write(events):
        written.append(len(events))
        has_begun.set()
        assert goes_on.wait(30)

    grouped, posts = posts_of(write)
    with ThreadPoolExecutor(NUM) as pool:
        first = pool.submit(grouped.store, posts[0])
        assert has_begun.wait(30)
        others = [pool.submit(grouped.store, one) for one in posts[1:]]
        while len(grouped._waiting) < NUM - 1:
            assert not any(one.done() for one in others)
        goes_on.set()
        assert [one.result() for one in (first, *others)] == [[""]] * NUM
    assert written == [1, NUM - 1]


def test_a_post_that_fails_does_not_fail_its_group(posts_of, monkeypatch):
    def store_but_not_of_p3(database, write, posts):
        if any(one.person.who == "p3" for one in posts):
            raise ZeroDivisionError
        return store_labels(database, write, posts)

    monkeypatch.setattr(grouped_posts, "store_labels", store_but_not_of_p3)
    written = []
    grouped, posts = posts_of(written.extend)
    everybody_is_here = threading.Barrier(NUM)

    def store_one(post):
        everybody_is_here.wait(30)
        try:
            return grouped.store(post)
        except ZeroDivisionError:
            return "failed"

    with grouped._turn:
        pool = ThreadPoolExecutor(NUM)
        answers = [pool.submit(store_one, one) for one in posts]
        while len(grouped._waiting) < NUM:
            pass
    assert [one.result() for one in answers] == [[""]] * 3 + ["failed"] + [[""]] * 4
    assert {one.who for one in written} == {one.person.who for one in posts} - {"p3"}
    pool.shutdown()


def test_a_refused_label_is_told_to_who_sent_it(posts_of):
    written = []
    grouped, posts = posts_of(written.extend)
    stolen = Post(posts[0].person, posts[1].labels, posts[1].now_us)
    (reason,) = grouped.store(stolen)
    assert reason == "the lease has passed to somebody else"
    assert grouped.store(posts[1]) == [""]
    assert [one.who for one in written] == ["p1"]
