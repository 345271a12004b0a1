"""Thousands of bad inputs: each gets a 4xx quickly, and no memory leaks."""

import io
import itertools
import json
import random
import socket
import struct
import time
import zlib
from collections import Counter
from collections.abc import Iterator

import numpy as np
from PIL import Image

from loadtest import digit_crops
from tests.acceptance.harness import OURS, Report, Service

SLOWEST_MS = 250.0
GROWTH_MB = 50.0
CHUNK = b"%x\r\n" % 65536 + b"\0" * 65536 + b"\r\n"
GIGABYTE = 1 << 30

Input = tuple[str, str, str, bytes]  # name, path, content type, body


def bad_inputs(report: Report, kind: str) -> None:
    """Generated bodies, then endless ones."""
    with Service(kind) as service:
        good = digit_crops.load()[0].png
        for _ in range(50):
            service.read(good)
        pids = service.worker_pids()
        before_mb = service.rss_mb()
        statuses: Counter[int] = Counter()
        slowest = (0.0, "")
        failed = []
        for name, path, content_type, body in _inputs():
            begun = time.perf_counter()
            if kind == OURS:
                status = service.ask("POST", path, body, {"Content-Type": content_type})[0]
            elif path == "/v1/digit":  # stock BentoML has only this path
                status = service.read(body)[0]
            else:
                continue
            slowest = max(slowest, ((time.perf_counter() - begun) * 1e3, name))
            statuses[status] += 1
            if status == 0 or status >= 500:
                failed.append(f"{name}: {status}")
        endless = [_endless(service, *one) for one in _endless_bodies(service)]
        report.fact("inputs", sum(statuses.values()))
        report.fact("statuses", {str(status): num for status, num in sorted(statuses.items())})
        report.fact("5xx_or_no_answer", len(failed))
        report.fact("slowest_ms", slowest[0])
        report.fact("slowest_is", slowest[1])
        report.fact("endless_bodies", endless)
        report.fact("rss_growth_mb", service.rss_mb() - before_mb)
        report.expect("1,000 inputs", sum(statuses.values()) >= 1000 or kind != OURS)
        report.expect(f"0 x 5xx, not {failed[:5]}", not failed)
        report.expect("each under 250 ms", slowest[0] < SLOWEST_MS)
        report.expect("endless bodies are 413", all(one.startswith("413") for one in endless))
        report.expect("memory grows by less than 50 MB", service.rss_mb() - before_mb < GROWTH_MB)
        report.expect("no worker died", service.worker_pids() == pids)
        report.expect("a good crop is read after all this", service.read(good)[0] == 200)


def _inputs() -> Iterator[Input]:
    rng = random.Random(4)
    good = digit_crops.load()
    digit = "/v1/digit"
    for name, body in _pictures(good[0].png, rng):
        yield name, digit, "image/png", body
        yield f"{name} in a form", digit, *_form([("image", body)])
    for content_type in ("", "text/plain", "image/gif", "image/png;;;", "x" * 3000, "image/jpeg"):
        yield f"typed {content_type[:20]!r}", digit, content_type, good[0].png
    yield from _arrays(rng)
    yield from _forms(good[0].png)
    yield from _json_bodies()


def _pictures(png: bytes, rng: random.Random) -> Iterator[tuple[str, bytes]]:
    yield from _damaged(png, rng)
    yield from _oversized()
    yield from _other_formats(png)


def _damaged(png: bytes, rng: random.Random) -> Iterator[tuple[str, bytes]]:
    jpeg = _encoded(Image.open(io.BytesIO(png)), "JPEG")
    for kind, data in (("PNG", png), ("JPEG", jpeg)):
        for cut in sorted({*range(64), *rng.sample(range(len(data)), 90), len(data) - 1}):
            yield f"{kind} cut at {cut}", data[:cut]
        for _ in range(130):
            harmed = bytearray(data)
            for _ in range(rng.choice((1, 1, 4, 32))):
                harmed[rng.randrange(len(harmed))] = rng.randrange(256)
            yield f"{kind} with wrong bytes", bytes(harmed)


def _oversized() -> Iterator[tuple[str, bytes]]:
    for side in (1, 3, 4097, 20_000, 65_535, 2**31 - 1):
        for other in (1, 28, side):
            yield f"bomb {side}x{other}", _bomb(side, other)
    for depth, colour in itertools.product((0, 1, 2, 4, 8, 16, 32), range(8)):
        yield f"depth {depth} colour {colour}", _bomb(28, 28, depth, colour)
    yield "nothing", b""
    yield "2 MB and a byte", bytes(2_097_153)


def _other_formats(png: bytes) -> Iterator[tuple[str, bytes]]:
    picture = Image.open(io.BytesIO(png))
    jpeg = _encoded(picture, "JPEG")
    for file_format in ("GIF", "BMP", "TIFF", "WEBP", "ICO", "PPM", "TGA", "PCX", "JPEG2000"):
        yield file_format, _encoded(picture, file_format)
    for file_format in ("GIF", "PNG", "WEBP", "TIFF"):
        yield (
            f"animated {file_format}",
            _encoded(picture, file_format, save_all=True, append_images=[picture.rotate(9)] * 50),
        )
    for mode in ("1", "LA", "P", "RGB", "RGBA", "I;16"):
        yield f"mode {mode}", _encoded(picture.convert("L").convert(mode), "PNG")
    yield "CMYK JPEG", _encoded(picture.convert("CMYK"), "JPEG")
    yield "text bomb", _with_chunk(png, b"zTXt", b"k\0\0" + zlib.compress(b"\0" * 80_000_000))
    yield "profile bomb", _with_chunk(png, b"iCCP", b"k\0\0" + zlib.compress(b"\0" * 80_000_000))
    yield "PNG then zip", png + b"PK\x03\x04" + bytes(200)
    yield "JPEG then HTML", jpeg + b"<script>alert(1)</script>"
    yield "PNG magic then JPEG", png[:8] + jpeg
    yield "SVG", b'<svg xmlns="http://www.w3.org/2000/svg"><image href="http://127.0.0.1/"/></svg>'
    yield "pickle", b"\x80\x04\x95\x10\x00\x00\x00\x00\x00\x00\x00\x8c\x02os\x94\x8c\x06system\x94."
    yield "URL", b"http://127.0.0.1:1/x.png"


def _encoded(picture: Image.Image, file_format: str, **options: object) -> bytes:
    stream = io.BytesIO()
    if file_format in ("JPEG", "PCX") and picture.mode not in ("L", "RGB", "CMYK"):
        picture = picture.convert("L")
    picture.save(stream, file_format, **options)
    return stream.getvalue()


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _bomb(width: int, height: int, depth: int = 8, colour: int = 0) -> bytes:
    """A PNG whose header claims this size, with pixels for a thousand rows at most."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    rows = bytes(min((min(width, 70_000) * 8 + 1) * min(height, 1000), 20_000_000))
    data = _chunk(b"IHDR", header) + _chunk(b"IDAT", zlib.compress(rows)) + _chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + data


def _with_chunk(png: bytes, kind: bytes, data: bytes) -> bytes:
    return png[:33] + _chunk(kind, data) + png[33:]


def _arrays(rng: random.Random) -> Iterator[Input]:
    infer = "/v2/models/digits/infer"
    shapes = [(), (0,), (1,), (28, 28), (1, 0, 28), (1, 3, 3), (2, 2, 28, 28), (1, 9999, 9999)]
    for shape in shapes:
        for dtype in ("u1", "f4", "f8", "i8", "?", "c8", "U4"):
            small = np.zeros(tuple(min(side, 30) for side in shape), dtype)
            stream = io.BytesIO()
            np.save(stream, small)
            body = stream.getvalue()
            name = f"npy {dtype} {shape}"
            yield name, "/v1/digits", "application/x-npy", body
            yield f"{name} cut", "/v1/digits", "application/x-npy", body[: rng.randrange(len(body))]
            lying = body.replace(str(small.shape).encode(), str(shape).encode().ljust(1))
            yield f"{name} lying", "/v1/postcode", "application/x-npy", lying
    stream = io.BytesIO()
    np.save(stream, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    yield "npy of pickles", "/v1/digits", "application/x-npy", stream.getvalue()
    for value in ("NaN", "1e999", "-1", "null", '"a"', "[]", "{}", "[[[]]]"):
        for shape in ([1, 28, 28], [1, 1, 28, 28], [-1, 28, 28], [10**9, 28, 28], "x", []):
            tensor = {"name": "image", "shape": shape, "datatype": "FP32", "data": ["@"]}
            text = json.dumps({"inputs": [tensor]}).replace('["@"]', f"[{value}]")
            full = json.dumps({"inputs": [tensor]}).replace(
                '["@"]', "[" + ",".join([value] * 784) + "]"
            )
            yield f"infer {value} {shape}", infer, "application/json", text.encode()
            yield f"infer 784 x {value} {shape}", infer, "application/json", full.encode()


def _form(parts: list[tuple[str, bytes]], boundary: bytes = b"x") -> tuple[str, bytes]:
    body = b"".join(
        b'--x\r\nContent-Disposition: form-data; name="%s"; filename="a.png"\r\n\r\n%s\r\n'
        % (name.encode(), data)
        for name, data in parts
    )
    return f"multipart/form-data; boundary={boundary.decode()}", body + b"--x--\r\n"


def _forms(png: bytes) -> Iterator[Input]:
    for path in ("/v1/digit", "/v1/digits", "/v1/postcode", "/v1/field"):
        yield "no boundary", path, "multipart/form-data", _form([("image", png)])[1]
        yield "another boundary", path, *_form([("image", png)], b"other")
        yield "no parts", path, *_form([])
        yield "1,001 parts", path, *_form([("image", b"")] * 1001)
        yield "300 crops", path, *_form([("image", png)] * 300)
        yield "another field", path, *_form([("../../etc/passwd", png)])
        yield "long field name", path, *_form([("n" * 5000, png)])
        yield "cut form", path, _form([("image", png)])[0], _form([("image", png)])[1][:-30]
        yield (
            "text field",
            path,
            "multipart/form-data; boundary=x",
            (
                b'--x\r\nContent-Disposition: form-data; name="image"\r\n\r\nhttp://127.0.0.1/\r\n--x--\r\n'
            ),
        )


def _json_bodies() -> Iterator[Input]:
    bodies = {
        "deep list": b"[" * 200_000 + b"]" * 200_000,
        "deep object": b'{"a":' * 100_000,
        "long number": b'{"inputs":[{"shape":[' + b"9" * 100_000 + b"]}]}",
        "not UTF-8": b'{"inputs": "\xff\xfe"}',
        "a list": b"[1]",
        "a number": b"1",
        "no inputs": b"{}",
        "two inputs": b'{"inputs":[{},{}]}',
        "null": b"null",
        "half": b'{"inputs":[',
    }
    for name, body in bodies.items():
        for path in ("/v2/models/digits/infer", "/classify"):
            yield f"{name} to {path}", path, "application/json", body
    for length in ("-1", "x", "99999999999999999999", "1e3", ""):
        body = b'{"inputs":[]}' + bytes(8)
        yield f"odd {length}", "/v2/models/digits/infer", "application/octet-stream", body


def _endless_bodies(service: Service) -> list[tuple[str, str]]:
    if service.kind != OURS:
        return [("/digit", "multipart/form-data; boundary=x")]
    return [
        ("/v1/digit", "image/png"),
        ("/v1/digits", "multipart/form-data; boundary=x"),
        ("/v1/digits", "application/x-npy"),
        ("/v2/models/digits/infer", "application/json"),
        ("/classify", "application/json"),
    ]


def _endless(service: Service, path: str, content_type: str) -> str:
    """Send a gigabyte in chunks, without a length; the status and after how many megabytes."""
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {content_type}\r\n"
    num = 0
    with socket.create_connection(("127.0.0.1", service.port), timeout=30) as client:
        client.sendall(head.encode() + b"Transfer-Encoding: chunked\r\n\r\n")
        try:
            while num * 65536 < GIGABYTE:
                client.sendall(CHUNK)
                num += 1
            client.sendall(b"0\r\n\r\n")
        except OSError:
            pass
        try:
            status = client.recv(64)[9:12].decode()
        except OSError:
            status = "413, then a reset" if num * 65536 < GIGABYTE / 8 else "reset"
    return f"{status} after {num * 65536 // 1_000_000} MB of {path} {content_type[:20]}"


CHECKS = {"bad-inputs": bad_inputs}
