"""Forms as clients write them, and as nobody should."""

import base64
import io
import sys

import httpx
import pytest
import urllib3
from multipart import MultipartParser

from serving.api.multipart_form import FormError, boundary_of, parts_of

BOUNDARY = b"XX"
DISPOSITION = b"Content-Disposition: form-data; "
PNG_TYPE = b"\r\nContent-Type: image/png"
KIND = "multipart/form-data; boundary=XX"


def part(header, data=b"data"):
    return b"--XX\r\n" + header + b"\r\n\r\n" + data + b"\r\n"


def form(*parts, end=b"--XX--\r\n"):
    return b"".join(parts) + end


def read(body, boundary=BOUNDARY):
    return [(one.name, one.data) for one in parts_of(body, boundary)]


@pytest.mark.parametrize(
    "header",
    [
        DISPOSITION + b'name="image"; filename="a.png"' + PNG_TYPE,
        DISPOSITION + b"name=image" + PNG_TYPE,
        DISPOSITION + b'name="image"' + PNG_TYPE,
        DISPOSITION + b'name="image"',
        DISPOSITION + b"name=image; filename=a b.png; filename*=utf-8''a.png",
        DISPOSITION + b"name=\"image\"; filename*=UTF-8''%e2%82%ac.png",
        DISPOSITION + b"name*=UTF-8''im%61ge; filename=a.png",
        DISPOSITION + 'name="image"; filename="Köln;.png"'.encode(),
        DISPOSITION + b'name="image"; filename="a\\"; name=\\"b.png"',
        DISPOSITION + b'filename="a.png"; name="image"',
        DISPOSITION + b'NAME="image" ; FILENAME = "a.png"',
        b'content-disposition:form-data;name="image";filename="a.png"',
        b"Content-Type: image/png\r\n" + DISPOSITION + b'name="image"; filename=""',
        b"Content-Disposition: form-data;\r\n name=image;\r\n\tfilename=a.png",
        DISPOSITION + b'name="image"; filename="a.png"\r\nContent-Transfer-Encoding: Binary',
    ],
)
async def test_a_part_is_read_however_its_client_names_it(client, crops, header):
    body = form(part(header, crops[0].png))
    reply = await client.post("/v1/digit", body, KIND)
    assert (reply.status, reply.json.get("digit")) == (200, crops[0].label), reply.body


@pytest.mark.parametrize(
    "kind",
    [
        'multipart/form-data; boundary="XX"',
        "multipart/form-data; charset=utf-8; boundary=XX",
        "MULTIPART/FORM-DATA;BOUNDARY=XX",
        'multipart/form-data; a="; boundary=YY"; boundary=XX ',
    ],
)
async def test_the_boundary_is_found_however_it_is_written(client, crops, kind):
    body = form(part(DISPOSITION + b"name=image; filename=a", crops[0].png))
    assert (await client.post("/v1/digit", body, kind)).status == 200


async def test_a_part_in_base64_is_refused_with_the_remedy(client, crops):
    header = DISPOSITION + b"name=image; filename=a\r\nContent-Transfer-Encoding: base64"
    body = form(part(header, base64.b64encode(crops[0].png)))
    reply = await client.post("/v1/digit", body, KIND)
    assert (reply.status, "send the file's bytes as they are" in reply.json["detail"]) == (
        400,
        True,
    )


async def test_a_text_field_beside_the_image_is_ignored(client, crops):
    body = form(
        part(DISPOSITION + b"name=csrf", b"token"),
        part(DISPOSITION + b"name=site\r\nContent-Type: text/plain; charset=utf-8", b"berlin"),
        part(DISPOSITION + b"name=image; filename=a", crops[0].png),
    )
    for path, number in (("/v1/digit", 1), ("/v1/digits", 1)):
        reply = await client.post(path, body, KIND)
        assert (reply.status, len(reply.json.get("results", [1]))) == (200, number)


@pytest.mark.parametrize("name", [b"top_k", b"pattern"])
async def test_a_query_parameter_in_a_form_is_refused_and_not_ignored(client, crops, name):
    body = form(
        part(DISPOSITION + b"name=" + name, b"1"),
        part(DISPOSITION + b"name=image; filename=a", crops[0].png),
    )
    reply = await client.post("/v1/digits", body, KIND)
    assert (reply.status, "give it in the query" in reply.json["detail"]) == (400, True)


async def test_more_than_16_text_fields_are_refused(client):
    body = form(*[part(DISPOSITION + b"name=a", b"1")] * 17)
    reply = await client.post("/v1/digits", body, KIND)
    assert (reply.status, "16 text fields" in reply.json["detail"]) == (400, True)


def test_preamble_epilogue_and_padding_are_ignored():
    body = (
        b"preamble\r\n--XX \t\r\n" + DISPOSITION + b"name=a\r\n\r\n1\r\n--XX--epilogue\r\n--XX\r\n"
    )
    assert read(body) == [("a", b"1")]


@pytest.mark.parametrize("data", [b"", b"\r\n", b"-XX", b"\r\n--X", b"a\r\n-XX\r\nb", b"\0\xff"])
def test_any_data_without_the_delimiter_are_kept(data):
    assert read(form(part(DISPOSITION + b"name=a", data))) == [("a", data)]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"--XX",
        b"--XX--"[:5],
        form(part(DISPOSITION + b"name=a"), end=b""),
        form(part(DISPOSITION + b"name=a")).replace(b"\r\n", b"\n"),
        form(part(b"")),
        form(part(DISPOSITION + b"name=a", b"--XX")),
        form(part(b"Content-Type: image/png")),
        form(part(b"Content-Disposition: attachment; name=a")),
        form(part(b"no colon\r\n" + DISPOSITION + b"name=a")),
        form(part(DISPOSITION + b"name=" + b"a" * 4096)),
        form(part(DISPOSITION + b"name=a", b"\r\n--XXX\r\n")),
        b"--XX\r\n" + DISPOSITION + b"name=a\r\n--XX--\r\n",
    ],
    ids=lambda body: repr(body[:30]),
)
def test_a_body_that_does_not_follow_its_boundary_is_an_error(body):
    with pytest.raises(FormError):
        read(body)


@pytest.mark.parametrize(
    "kind", [b"", b"x; boundary=", b'x; boundary=""', b"x; boundary=" + b"a" * 71]
)
def test_a_boundary_of_no_or_too_many_bytes_is_an_error(kind):
    with pytest.raises(FormError, match="1 to 70"):
        boundary_of(kind)


def encode_with_httpx(files):
    request = httpx.Request("POST", "http://a", files=[("crop", (n, d, t)) for n, d, t in files])
    return request.headers["content-type"].encode(), request.read()


def encode_with_urllib3(files):
    body, kind = urllib3.encode_multipart_formdata([("crop", file) for file in files])
    return kind.encode(), body


@pytest.mark.parametrize("encode", [encode_with_httpx, encode_with_urllib3])
def test_what_clients_encode_is_read_like_another_parser_reads_it(encode):
    files = [
        ("a.png", b"\x89PNG\r\n\r\n--", "image/png"),
        ('q"uo;te\\.png', b"", "image/jpeg"),
        ("Köln €.png", bytes(range(256)) * 40, "application/octet-stream"),
    ]
    kind, body = encode(files)
    boundary = boundary_of(kind)
    ours = [(one.name, one.content_type, one.data) for one in parts_of(body, boundary)]
    parser = MultipartParser(io.BytesIO(body), boundary)
    assert ours == [(one.name, one.content_type, one.raw) for one in parser]
    assert [data for _, _, data in ours] == [data for _, data, _ in files]


@pytest.mark.parametrize("boundary", [b"XX", b"-" * 70, b"ab" * 35])
@pytest.mark.parametrize(
    "filling", [b"\r", b"\r\n", b"\r\n--", b"-", b"\r\n--X", b"\r\n--XY", b"a"]
)
def test_eight_megabytes_of_any_bytes_cost_no_python_call_each(boundary, filling):
    calls = 0

    def count(frame, event, argument):
        nonlocal calls
        calls += 1

    body = b"--" + boundary + b"\r\n" + DISPOSITION + b"name=a\r\n\r\n" + filling * (8 << 20)
    sys.setprofile(count)
    try:
        read(body[: 8 << 20], boundary)
    except FormError:
        pass
    finally:
        sys.setprofile(None)
    assert calls < 500


@pytest.mark.parametrize("filling", [b";a=b" * 900, b"\r\na:b" * 600])
def test_a_part_with_hundreds_of_parameters_or_lines_is_an_error(filling):
    with pytest.raises(FormError, match="32 lines and parameters"):
        read(form(part(DISPOSITION + b"name=image" + filling)))
