"""Answers that no service of ours gives: each read ends in time, with an error that says why."""

import gzip
import json
import resource
import socket
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import httpx
import pytest
from hostile import HostileServer, good_body, message

from digitline import (
    AnswerUnreadable,
    DeadlineExceeded,
    Digitline,
    DigitlineError,
    NetworkFailed,
    Reading,
    RequestRefused,
    ServiceUnavailable,
    Unanswered,
)

PNG = b"\x89PNG a crop"
PATIENT_MS = 5_000


@pytest.fixture
def serve():
    opened = []

    def serve_one(answer):
        opened.append(HostileServer(answer))
        return opened[-1]

    yield serve_one
    for one in opened:
        one.close()


def client_of(server, deadline_ms=PATIENT_MS):
    plain = httpx.AsyncHTTPTransport(verify=False)  # a list of authorities takes 0.1 s to load
    return Digitline(server.url, "the-key", deadline_ms=deadline_ms, transport=plain)


def read_from(server, deadline_ms=PATIENT_MS):
    with client_of(server, deadline_ms) as client:
        try:
            return client.read(PNG)
        except DigitlineError as error:
            return error


def says(*parts):
    """An answer of the same bytes each time."""

    def answer(connection, request):
        connection.sendall(b"".join(parts))

    return answer


def test_an_answer_of_one_byte_at_a_time_ends_at_the_deadline(serve):
    def dribble(connection, request):
        for byte in message(good_body(request)):
            connection.sendall(bytes([byte]))
            time.sleep(0.05)

    error = read_from(serve(dribble), deadline_ms=300)
    assert isinstance(error, DeadlineExceeded)


def test_an_answer_without_an_end_is_given_up_after_a_few_megabytes(serve):
    sent = 0

    def flood(connection, request):
        nonlocal sent
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        while sent < 200_000_000:
            connection.sendall(bytes(1_000_000))
            sent += 1_000_000
        return "close"

    error = read_from(serve(flood))
    assert isinstance(error, AnswerUnreadable)
    assert "4,000,000" in str(error)
    assert sent < 100_000_000


def test_an_answer_that_says_it_is_large_is_not_read(serve):
    error = read_from(serve(says(b"HTTP/1.1 200 OK\r\ncontent-length: 50000000000\r\n\r\n")))
    assert isinstance(error, AnswerUnreadable)
    assert "50,000,000,000" in str(error)


def test_a_compressed_answer_is_not_unpacked(serve):
    bomb = gzip.compress(bytes(200_000_000), 1)
    server = serve(says(message(bomb, "content-encoding: gzip", "content-type: application/json")))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    error = read_from(server)
    assert isinstance(error, AnswerUnreadable)
    assert "gzip" in str(error)
    assert server.requests[0]["accept-encoding"] == "identity"
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # kB


BODIES = {
    "nothing": b"",
    "html": b"<html>Please sign in</html>",
    "deep": b"[" * 200_000,
    "deep object": b'{"a":' * 100_000,
    "not utf-8": b'{"digit": "\xff\xfe"}',
    "a list": b"[1, 2]",
    "a long number": b'{"digit": ' + b"9" * 10_000 + b"}",
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
@pytest.mark.parametrize("status", ["200 OK", "503 Storm", "400 Bad"])
def test_a_body_that_is_no_answer_is_an_error_of_ours(serve, status, body):
    error = read_from(serve(says(message(body, status=status))))
    kinds = {"200": AnswerUnreadable, "503": ServiceUnavailable, "400": RequestRefused}
    assert type(error) is kinds[status[:3]]
    assert error.request_id is not None


PROBLEMS = [
    {"status": "many"}, {"status": 200}, {"status": None}, {"status": 1e999}, {"rows": 5},
    {"detail": {"a": 1}, "title": []}, {"request_id": 7}, {"type": ["x"]}, {"rows": [1, "x"]},
]  # fmt: skip


@pytest.mark.parametrize("problem", PROBLEMS, ids=str)
@pytest.mark.parametrize("status", ["503 Storm", "404 Gone"])
def test_a_problem_of_another_shape_does_not_change_what_the_status_says(serve, status, problem):
    error = read_from(serve(says(message(json.dumps(problem).encode(), status=status))))
    assert type(error) is (ServiceUnavailable if status[0] == "5" else RequestRefused)
    assert error.request_id is not None


CHANGES = [
    {"digit": 17}, {"digit": -1}, {"digit": "7"}, {"digit": 7.5}, {"digit": True},
    {"digit": [7]}, {"confidence": 1e999}, {"confidence": -0.1}, {"confidence": "high"},
    {"confidence": float("nan")}, {"accepted": "no"}, {"accepted": 1}, {"accepted": None},
    {"candidates": 5}, {"candidates": [5]}, {"candidates": [{"digit": 7}]}, {"read_id": None},
    {"read_id": 5}, {"model_version": None}, {"digit": None, "accepted": True},
    {"request_id": "another letter's"},
]  # fmt: skip


@pytest.mark.parametrize("changes", CHANGES, ids=str)
def test_an_answer_that_a_machine_must_not_act_on_is_unreadable(serve, changes):
    server = serve(lambda connection, request: connection.sendall(
        message(good_body(request, **changes))))  # fmt: skip
    error = read_from(server)
    assert type(error) is AnswerUnreadable
    assert error.request_id == server.requests[0]["x-request-id"]
    assert error.num_sent == len(server.requests)


def test_an_answer_with_an_unusual_content_type_is_judged_by_its_body(serve):
    server = serve(lambda connection, request: connection.sendall(
        message(good_body(request), "content-type: text/html")))  # fmt: skip
    assert read_from(server).digit == 7


STATUSES = [
    "204 No Content", "206 Part", "301 Moved", "302 Found", "307 Moved", "308 Moved", "304 Same",
    "505 Old", "599 Other",
]  # fmt: skip


@pytest.mark.parametrize("status", STATUSES)
def test_a_redirect_is_not_followed_and_any_other_status_is_told(serve, status):
    elsewhere = serve(lambda connection, request: connection.sendall(message(good_body(request))))
    body = b"" if status[:3] in ("204", "304") else b"{}"
    head = f"HTTP/1.1 {status}\r\nlocation: {elsewhere.url}/v1/digit\r\n"
    length = "" if not body else f"content-length: {len(body)}\r\n"
    error = read_from(serve(says(f"{head}{length}\r\n".encode(), body)))
    assert type(error) is AnswerUnreadable
    assert status[:3] in str(error)
    assert elsewhere.requests == []  # the key went nowhere else
    if status[0] == "3" and status[:3] != "304":
        assert elsewhere.url in str(error)


def test_cookies_are_not_kept(serve):
    server = serve(lambda connection, request: connection.sendall(
        message(good_body(request), "set-cookie: AWSALB=one-task; path=/")))  # fmt: skip
    with client_of(server) as client:
        client.read(PNG)
        client.read(PNG)
    assert [one["cookie"] for one in server.requests] == [None, None]


BROKEN = {
    "no HTTP": b"SSH-2.0-OpenSSH_9.2\r\n",
    "no status": b"HTTP/1.1 OK\r\n\r\n",
    "two lengths": b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\n{}",
    "a negative length": b"HTTP/1.1 200 OK\r\ncontent-length: -2\r\n\r\n{}",
    "a huge head": b"HTTP/1.1 200 OK\r\n" + b"x: " + b"y" * 300_000,
    "many heads": b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 50_000,
    "bad chunks": b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
    "a head with NUL": b"HTTP/1.1 200 OK\r\nx: \x00\r\n\r\n",
}


@pytest.mark.parametrize("data", BROKEN.values(), ids=BROKEN)
def test_what_is_no_http_is_a_network_failure(serve, data):
    def answer(connection, request):
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)

    error = read_from(serve(answer))
    assert type(error) is NetworkFailed
    assert error.num_sent >= 1


def test_early_answers_without_an_end_end_at_the_deadline(serve):
    def hints(connection, request):
        while True:
            connection.sendall(b"HTTP/1.1 103 Early Hints\r\n\r\n")

    assert isinstance(read_from(serve(hints), deadline_ms=200), Unanswered)


def storm(retry_after):
    headers = [] if retry_after is None else [f"retry-after: {retry_after}"]
    return says(message(b'{"status":503}', *headers, status="503 Storm"))


@pytest.mark.parametrize(
    ("retry_after", "least_s", "most_s"),
    [
        (None, None, None), ("-5", None, None), ("soon", None, None), ("1.5", None, None),
        ("", None, None), ("\u00b2", None, None), (timedelta(days=-1), 0, 0),
        ("7", 7, 7), (timedelta(seconds=30), 25, 31), ("9" * 30, 60, 60), ("9" * 5000, 60, 60),
        (timedelta(days=9000), 60, 60), ("Mon, 99 Foo 2026 99:99:99 GMT", None, None),
    ],
)  # fmt: skip
def test_retry_after_is_seconds_or_a_date_and_at_most_a_minute(serve, retry_after, least_s, most_s):
    if isinstance(retry_after, timedelta):
        retry_after = format_datetime(datetime.now(UTC) + retry_after, usegmt=True)
    server = serve(storm(retry_after))
    with client_of(server, 400) as client:
        for _ in range(20):
            with pytest.raises((ServiceUnavailable, Unanswered)) as caught:
                client.read(PNG)
            if type(caught.value) is ServiceUnavailable:
                asked = caught.value.retry_after_s
                assert (asked is None) if least_s is None else least_s <= asked <= most_s
        wait_s = client._core._caller._circuit._open_until - time.monotonic()
    assert wait_s <= 90  # the scanner comes back by itself
    assert len(server.requests) <= 10 * 1.2 + 1


def test_a_connection_that_ends_as_the_request_arrives_is_tried_again(serve):
    """As a proxy does that gives idle connections up: it answers, and closes on the next bytes."""

    def answer(connection, request):
        if sum(one is request for one in server.requests[1:2]):
            return "close"
        connection.sendall(message(good_body(request)))
        return None

    server = serve(answer)
    with client_of(server) as client:
        assert [client.read(PNG).digit for _ in range(3)] == [7, 7, 7]
    assert [one["x-attempt"] for one in server.requests] == [None, None, "retry", None]


def test_idle_connections_that_the_server_closed_cost_no_retry(serve):
    def answer(connection, request):
        connection.sendall(message(good_body(request)))
        return "close"

    server = serve(answer)
    with client_of(server) as client:
        for _ in range(20):
            assert isinstance(client.read(PNG), Reading)
            time.sleep(0.01)
    assert sum(one["x-attempt"] == "retry" for one in server.requests) <= 3
