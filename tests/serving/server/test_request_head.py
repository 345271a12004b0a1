"""The head of a request against RFC 9110 and 9112."""

import pytest

from serving.problems import Problem
from serving.server.request_head import parse_head

HOST = b"Host: localhost:3000\r\n"


def head(fields=HOST, target=b"/v1/digit", method=b"POST", version=b"HTTP/1.1"):
    return method + b" " + target + b" " + version + b"\r\n" + fields + b"\r\n"


def refusal(data):
    with pytest.raises(Problem) as refused:
        parse_head(data)
    assert refused.value.closes_connection
    return refused.value.status


@pytest.mark.parametrize(
    "host",
    [
        b"localhost", b"a.b-c_d", b"a.b:80", b"a.b:", b"[::1]", b"[2001:db8::1]:8080",
        b"127.0.0.1:1", b"xn--kln-sna.de", b"%41",
    ],
)  # fmt: skip
def test_a_valid_host_is_accepted(host):
    assert parse_head(head(b"Host: " + host + b"\r\n")).headers == [(b"host", host)]


@pytest.mark.parametrize(
    "fields",
    [
        b"",
        HOST + HOST,
        HOST + b"Host: other\r\n",
        *(b"Host: " + value + b"\r\n" for value in (
            b"", b"a b", b"a, b", b"a/b", b"a@b", b"user:pw@a", b"a?b", b"a#b", b"a\\b", b"a:b",
            b"a:99999", b"a:1:2", b":80", b"::1", b"[::1", b"[::g]", b"[127.0.0.1]", b"[]",
            b"[::1]x", b"a%4", b"<a>", b'"a"', "k\xf6ln".encode(), b"a\tb",
        )),
        b"Host : a\r\n",
        b" Host: a\r\n",
    ],
)  # fmt: skip
def test_a_missing_repeated_or_invalid_host_is_400(fields):
    assert refusal(head(fields)) == 400


def test_http_1_0_needs_no_host_and_closes():
    parsed = parse_head(head(b"", version=b"HTTP/1.0"))
    assert (parsed.version, parsed.keeps_alive) == ("1.0", False)


@pytest.mark.parametrize(
    ("version", "status"),
    [
        (b"HTTP/2.0", 505), (b"HTTP/0.9", 505), (b"HTTP/1.2", 505), (b"HTTP/1.9", 505),
        (b"HTTP/3.0", 505), (b"RTSP/1.0", 400), (b"ICE/1.0", 400), (b"http/1.1", 400),
        (b"HTTP/1.10", 400), (b"HTTP/11", 400), (b"HTTP/1.1 ", 400), (b"", 400),
    ],
)  # fmt: skip
@pytest.mark.parametrize("method", [b"GET", b"POST", b"OPTIONS", b"DESCRIBE", b"SOURCE"])
def test_another_version_or_protocol_is_refused(method, version, status):
    assert refusal(head(method=method, version=version)) == status


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        (b"Transfer-Encoding: gzip, chunked\r\n", 501),
        (b"Transfer-Encoding: foo, chunked\r\n", 501),
        (b"Transfer-Encoding: chunked, gzip\r\n", 400),
        (b"Transfer-Encoding: gzip\r\n", 400),
        (b"Transfer-Encoding: identity\r\n", 400),
        (b"Transfer-Encoding: chunked, chunked\r\n", 400),
        (b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", 400),
        (b"Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n", 400),
        (b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", 400),
        (b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", 400),
        (b"Transfer-Encoding: \x0bchunked\r\n", 400),
        (b"Transfer-Encoding:\r\n chunked\r\n", 400),
        (b"Content-Length: 5\r\nContent-Length: 5\r\n", 400),
        (b"Content-Length: 5, 5\r\n", 400),
        (b"Content-Length: +5\r\n", 400),
        (b"Content-Length: -5\r\n", 400),
        (b"Content-Length: 0x5\r\n", 400),
        (b"Content-Length: 5 5\r\n", 400),
        (b"Content-Length: " + b"0" * 30 + b"5\r\n", 400),
        (b"Content-Length: 99999999999999999999999\r\n", 400),
        (b"Content-Length:\r\n", 400),
        (b"Expect: 200-ok\r\n", 417),
        (b"Expect: 100-continue, other\r\n", 417),
        (b"X-A: b\r\n c\r\n", 400),
        (b"X-A: b\r\n\tc\r\n", 400),
        (b"X-A: a\0b\r\n", 400),
        (b"X-A: a\rb\r\n", 400),
        (b"X-A: a\nX-B: b\r\n", 400),
        (b"X-A : b\r\n", 400),
        (b"X A: b\r\n", 400),
        (b": b\r\n", 400),
        (b"no colon\r\n", 400),
    ],
)
def test_a_field_that_makes_the_request_uncertain_is_refused(fields, status):
    assert refusal(head(HOST + fields)) == status


@pytest.mark.parametrize(
    ("fields", "length"),
    [
        (b"", 0),
        (b"Content-Length: 0\r\n", 0),
        (b"content-length:7\r\n", 7),
        (b"Transfer-Encoding: chunked\r\n", None),
        (b"Transfer-Encoding:\tChunked \r\n", None),
    ],
)
def test_the_length_of_a_body_is_told(fields, length):
    assert parse_head(head(HOST + fields)).content_length == length


def test_transfer_encoding_in_http_1_0_is_400():
    fields = HOST + b"Transfer-Encoding: chunked\r\n"
    assert refusal(head(fields, version=b"HTTP/1.0")) == 400


@pytest.mark.parametrize(("version", "expected"), [(b"HTTP/1.1", True), (b"HTTP/1.0", False)])
def test_100_continue_is_expected_in_http_1_1_only(version, expected):
    fields = HOST + b"Expect: 100-Continue\r\nContent-Length: 5\r\n"
    assert parse_head(head(fields, version=version)).expects_continue is expected


@pytest.mark.parametrize(
    ("target", "path", "raw_path", "query"),
    [
        (b"/v1/d%69git?top_k=3", "/v1/digit", b"/v1/d%69git", b"top_k=3"),
        (b"//v1/digit", "//v1/digit", b"//v1/digit", b""),
        (b"/a?b?c", "/a", b"/a", b"b?c"),
        (b"http://host", "/", b"/", b""),
        (b"HTTP://host:80/v1/digit?a=1", "/v1/digit", b"/v1/digit", b"a=1"),
        (b"http://host?a=1", "/", b"/", b"a=1"),
    ],
)
def test_a_target_is_split_and_unquoted(target, path, raw_path, query):
    parsed = parse_head(head(target=target))
    assert (parsed.path, parsed.raw_path, parsed.query_string) == (path, raw_path, query)


def test_the_authority_of_an_absolute_target_replaces_the_host():
    parsed = parse_head(head(target=b"http://evil.example/livez"))
    assert parsed.headers == [(b"host", b"evil.example")]


@pytest.mark.parametrize(
    ("method", "target", "status"),
    [
        (b"CONNECT", b"x:443", 501),
        (b"CONNECT", b"/v1/digit", 501),
        (b"OPTIONS", b"*", 405),
        (b"GET", b"*", 400),
        (b"GET", b"livez", 400),
        (b"GET", b"host:80", 400),
        (b"GET", b"ftp://host/", 400),
        (b"GET", b"http:///livez", 400),
        (b"GET", b"http://u:p@host/livez", 400),
        (b"GET", b"http://[::1/livez", 400),
        (b"GET", b"/livez#x", 400),
        (b"GET", "/v1/\xe9".encode(), 400),
        (b"GET", b"/a b", 400),
        (b"FOO", b"/livez", 400),
    ],
)
def test_a_target_or_method_that_is_not_served_is_refused(method, target, status):
    assert refusal(head(method=method, target=target)) == status


@pytest.mark.parametrize(
    ("value", "keeps_alive"),
    [(b"keep-alive", True), (b"close", False), (b"TE, Close", False), (b"closed", True)],
)
def test_the_client_says_whether_the_connection_stays(value, keeps_alive):
    fields = HOST + b"Connection: " + value + b"\r\n"
    assert parse_head(head(fields, method=b"GET")).keeps_alive is keeps_alive


def test_an_upgrade_is_ignored():
    fields = HOST + b"Connection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 5\r\n"
    parsed = parse_head(head(fields))
    assert parsed.content_length == 5
    assert b"upgrade" not in dict(parsed.headers)


def test_a_header_of_more_than_128_fields_is_431():
    start, field = b"GET / HTTP/1.1\r\nHost: a\r\n", b"a:\r\n"
    assert len(parse_head(start + field * 127 + b"\r\n").headers) == 128
    with pytest.raises(Problem) as refused:
        parse_head(start + field * 128 + b"\r\n")
    assert refused.value.status == 431


@pytest.mark.parametrize("blank", [b" ", b"\t", b" \t "])
def test_blanks_around_a_value_are_no_part_of_it(blank):
    fields = HOST + b"X-Deadline-Ms:" + blank + b"5" + blank + b"\r\n"
    assert (b"x-deadline-ms", b"5") in parse_head(head(fields)).headers
