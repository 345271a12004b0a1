import functools

import pytest

from serving.edge.body import BodyMemory, Disconnected, check_length, content_type, read_body
from serving.edge.in_flight import InFlight
from serving.problems import Problem

ALLOWED = ("image/png", "multipart/form-data")


@pytest.mark.parametrize(
    ("declared", "kind"),
    [
        (b"image/png", "image/png"),
        (b"IMAGE/PNG", "image/png"),
        (b" image/png ; q=1", "image/png"),
        (b"multipart/form-data; boundary=x", "multipart/form-data"),
    ],
)
def test_a_type_is_read_without_its_parameters(declared, kind):
    assert content_type({b"content-type": declared}, ALLOWED) == kind


@pytest.mark.parametrize(
    "declared", [b"", b"image/gif", b"image", b"*/*", b"image/png,image/png", b"\xff\xfe"]
)
def test_another_type_is_415_and_tells_which_are_read(declared):
    with pytest.raises(Problem, match=r"image/png, multipart/form-data") as caught:
        content_type({b"content-type": declared}, ALLOWED)
    assert caught.value.status == 415


def test_no_type_is_415():
    with pytest.raises(Problem):
        content_type({}, ALLOWED)


@pytest.mark.parametrize("encoding", [b"gzip", b"br", b"identity, gzip", b"GZIP"])
def test_a_compressed_body_is_415(encoding):
    with pytest.raises(Problem, match="uncompressed"):
        content_type({b"content-type": b"image/png", b"content-encoding": encoding}, ALLOWED)


@pytest.mark.parametrize("declared", [b"0", b"100", b"00100"[2:]])
def test_a_length_up_to_the_limit_is_let_through(declared):
    check_length({b"content-length": declared}, 100)


@pytest.mark.parametrize(
    ("declared", "status"),
    [
        (b"101", 413),
        (b"9" * 5000, 413),
        (b"-1", 400),
        (b"1e2", 400),
        (b"", 400),
        (b"0x10", 400),
        (b"1 ", 400),
        ("\u00b2".encode("latin-1"), 400),
    ],
)
def test_a_length_over_the_limit_or_no_number_is_refused(declared, status):
    with pytest.raises(Problem) as caught:
        check_length({b"content-length": declared}, 100)
    assert caught.value.status == status


def test_413_tells_size_limit_and_remedy():
    with pytest.raises(Problem, match=r"101 bytes.*at most 100.*smaller"):
        check_length({b"content-length": b"101"}, 100)


def hold_any(num_bytes):
    """There is room for all bodies."""


def receiving(*parts, then_disconnect=False):
    messages = [
        {"type": "http.request", "body": part, "more_body": number < len(parts)}
        for number, part in enumerate(parts, start=1)
    ]
    if then_disconnect:
        messages[-1]["more_body"] = True
        messages.append({"type": "http.disconnect"})
    pending = iter(messages)

    async def receive():
        return next(pending)

    receive.pending = pending
    return receive


@pytest.mark.parametrize(
    "parts", [(b"",), (b"hello",), (b"he", b"llo"), (b"", b"hello", b""), (b"x" * 10,)]
)
async def test_a_body_is_joined_from_its_parts(parts):
    assert await read_body(receiving(*parts), 10, hold_any) == b"".join(parts)


async def test_a_message_without_a_body_is_an_empty_part():
    async def receive():
        return {"type": "http.request"}

    assert await read_body(receive, 10, hold_any) == b""


@pytest.mark.parametrize("parts", [(b"x" * 11,), (b"x" * 6, b"x" * 6), (b"x",) * 11])
async def test_a_body_over_the_limit_is_413(parts):
    with pytest.raises(Problem) as caught:
        await read_body(receiving(*parts), 10, hold_any)
    assert caught.value.status == 413


async def test_reading_stops_as_soon_as_the_limit_is_passed():
    receive = receiving(b"x" * 6, b"x" * 6, b"x" * 6, b"x" * 6)
    with pytest.raises(Problem):
        await read_body(receive, 10, hold_any)
    assert len(list(receive.pending)) == 2


@pytest.mark.parametrize("parts", [(b"",), (b"abc",), (b"a", b"b", b"c")])
async def test_a_disconnect_is_not_taken_for_the_end_of_the_body(parts):
    with pytest.raises(Disconnected):
        await read_body(receiving(*parts, then_disconnect=True), 10, hold_any)


async def test_a_disconnect_before_the_first_part_is_noticed():
    async def receive():
        return {"type": "http.disconnect"}

    with pytest.raises(Disconnected):
        await read_body(receive, 10, hold_any)


def exchange_of(sender):
    exchange = InFlight(100, 5.0, 2.0).enter(None)
    exchange.sender = sender
    return exchange


async def test_the_parts_of_a_body_are_held_until_they_are_released():
    memory, exchange = BodyMemory(100), exchange_of("a")
    hold = functools.partial(memory.hold, exchange)
    assert await read_body(receiving(b"x" * 20, b"x" * 20), 40, hold) == b"x" * 40
    with pytest.raises(Problem):
        memory.hold(exchange_of("a"), 11)
    memory.release(exchange)
    memory.hold(exchange_of("a"), 50)


async def test_a_body_in_one_part_is_not_held():
    def refuse(num_bytes):
        raise AssertionError

    assert await read_body(receiving(b"x" * 10), 10, refuse) == b"x" * 10


async def test_the_bodies_of_one_sender_leave_room_for_those_of_another():
    memory = BodyMemory(128)
    for _ in range(8):
        memory.hold(exchange_of("hog"), 8)
    with pytest.raises(Problem, match=r"your bodies hold 64 bytes.*limit is 128.*fewer") as caught:
        memory.hold(exchange_of("hog"), 1)
    assert caught.value.status == 503
    assert caught.value.retry_after_s == 1.0
    memory.hold(exchange_of("late"), 20)


async def test_a_body_without_room_is_refused_by_its_length():
    memory = BodyMemory(1_000_000)
    memory.check_room(exchange_of("hog"), {b"content-length": b"500000"})
    memory.hold(exchange_of("hog"), 100_000)
    with pytest.raises(Problem, match="your bodies hold 100000 bytes"):
        memory.check_room(exchange_of("hog"), {b"content-length": b"500000"})


async def test_a_body_that_can_arrive_in_one_piece_is_not_refused_by_its_length():
    memory = BodyMemory(100)
    memory.check_room(exchange_of("a"), {b"content-length": b"65536"})
    memory.check_room(exchange_of("a"), {})
