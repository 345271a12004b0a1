"""Structure-aware fuzzing of every route's body, query and headers, through the ASGI application.

Each request starts as one that the grammar of its content type allows: an .npy header, a multipart
form, JSON or JSON with a binary tail, a query string. Then one to four of its tokens are replaced,
repeated, cut or exchanged. The service must answer 2xx, 4xx or 501 to all of them; another status
or an exception is a fault. The first request of each new (route, status, detail without numbers)
goes to corpus/api, and the next run starts with the whole corpus.

    python tests/fuzz/api_bodies.py --requests 20000 --seed 1
"""

import argparse
import asyncio
import hashlib
import json
import os
import random
import re
import struct
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
CORPUS = HERE / "corpus" / "api"
CROPS = [(ROOT / "tests" / "data" / "crops" / name).read_bytes() for name in ("7-00585.png",)]
FIELDS = [(ROOT / "tests" / "data" / "fields" / "28195.png").read_bytes()]
INFER = "/v2/models/digits/infer"
ODD_NUMBERS = [
    "0",
    "-1",
    "1.5",
    "1e999",
    "true",
    "null",
    "9" * 30,
    "-0",
    "1e-400",
    "0x1",
    "2147483648",
]
ODD_TEXTS = [
    "",
    "\0",
    "é",
    "\ud83d\ude00",
    "a" * 300,
    "\\",
    '"',
    "'",
    "%00",
    "\r\n",
    "__proto__",
    "NaN",
]
ODD_BYTES = [
    b"",
    b"\0",
    b"\xff\xfe",
    b"\r\n",
    b"--",
    b"\r\n--XX",
    b"\r",
    b"\n",
    b"\xc3",
    b"\x89PNG\r\n\x1a\n",
    b"\xff\xd8\xff",
    b"A" * 5000,
    b"'",
    b'"',
    b";",
    b"=",
    b",",
    b"(",
    b"{",
    b"[",
    b"\xed\xa0\x80",
]
MAX_KEPT_BYTES = 4_000  # of a body in the corpus
TOKEN = re.compile(rb"[A-Za-z]+|[0-9]+|\s+|.", re.DOTALL)


@dataclass(frozen=True)
class Sent:
    """One request."""

    method: str
    path: str
    query: bytes
    headers: list[tuple[bytes, bytes]]
    body: bytes

    def to_json(self) -> str:
        plain = [[name.decode("latin-1"), value.decode("latin-1")] for name, value in self.headers]
        return json.dumps(
            {
                "method": self.method,
                "path": self.path,
                "query": self.query.decode("latin-1"),
                "headers": plain,
                "body": self.body.decode("latin-1"),
            }
        )

    @classmethod
    def from_json(cls, text: str) -> "Sent":
        content = json.loads(text)
        headers = [(n.encode("latin-1"), v.encode("latin-1")) for n, v in content["headers"]]
        query, body = (content[name].encode("latin-1") for name in ("query", "body"))
        return cls(content["method"], content["path"], query, headers, body)


class Grammar:
    """Makes requests that are sound or nearly so."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng

    def request(self, paths: list[str]) -> Sent:
        make = self.rng.choice(
            [
                self.image,
                self.field,
                self.form,
                self.form,
                self.npy,
                self.npy,
                self.infer,
                self.infer,
                self.infer_binary,
                self.classify,
                lambda: self.any_path(paths),
            ]
        )
        return make()

    def post(self, path: str, kind: bytes, body: bytes, *headers: tuple[bytes, bytes]) -> Sent:
        return Sent("POST", path, self.query(), [(b"content-type", kind), *headers], body)

    def query(self) -> bytes:
        if self.rng.random() < 0.6:
            return b""
        choices = [
            b"top_k=%d" % self.rng.randrange(7),
            b"pattern=[0-9]+",
            b"pattern=(.?){99}",
            b"a=b",
            b"pattern=%5B1-9%5D%5B0-9%5D*",
            b"digits=5",
            b"digits=%d-%d" % (self.rng.randrange(14), self.rng.randrange(14)),
            b"top_k=",
            b"=",
            b"%ff=%ff",
            b"pattern=%ed%a0%80",
        ]
        return self.mutate(b"&".join(self.rng.choices(choices, k=self.rng.randint(1, 3))), 0.4)

    def image(self) -> Sent:
        kind = self.rng.choice(
            [b"image/png", b"image/jpeg", b"IMAGE/PNG; a=b", b"image/png, image/png"]
        )
        path = self.rng.choice(["/v1/digit", "/v1/digit", "/v1/explain"])
        return self.post(path, kind, self.mutate(self.rng.choice(CROPS), 0.5))

    def field(self) -> Sent:
        path = self.rng.choice(["/v1/field", "/v1/field", "/v1/explain"])
        body = self.mutate(self.rng.choice([*FIELDS, *CROPS]), 0.3)
        return self.post(path, self.rng.choice([b"image/png", b"image/jpeg"]), body)

    def form(self) -> Sent:
        rng, boundary = self.rng, self.rng.choice([b"XX", b"-" * 30, b"a'()+_,-./:=?", b"X" * 70])
        parts = []
        for _ in range(rng.choice([0, 1, 1, 1, 2, 3, 5, 13])):
            disposition = b"Content-Disposition: form-data; " + rng.choice(
                [
                    b'name="image"; filename="a.png"',
                    b"name=image",
                    b"name=crop; filename*=UTF-8''%e2%82%ac",
                    b"name*=utf-8''image",
                    b'filename="a;b\\".png"; name="crop"',
                    b"name=csrf",
                    b"name=top_k",
                ]
            )
            lines = [
                disposition,
                rng.choice([b"", b"\r\nContent-Type: image/png", b"\r\nX: y", b"\r\n folded"]),
            ]
            if rng.random() < 0.1:
                lines.append(
                    b"\r\nContent-Transfer-Encoding: " + rng.choice([b"base64", b"binary", b"7bit"])
                )
            data = rng.choice([*CROPS, b"", b"text", b"\r\n--X"])
            parts.append(
                b"--" + boundary + b"\r\n" + b"".join(lines) + b"\r\n\r\n" + data + b"\r\n"
            )
        body = self.mutate(
            b"".join(parts) + b"--" + boundary + rng.choice([b"--\r\n", b"--", b"", b"\r\n"]), 0.5
        )
        kind = b"multipart/form-data; boundary=" + rng.choice([boundary, b'"' + boundary + b'"'])
        path = rng.choice(["/v1/digit", "/v1/digits", "/v1/postcode", "/v1/field", "/v1/explain"])
        return self.post(path, self.mutate(kind, 0.15), body)

    def npy(self) -> Sent:
        rng = self.rng
        shape = rng.choice(
            [
                "(2, 28, 28)",
                "(12, 28, 28)",
                "(1, 4, 4)",
                "(True, 28, 28)",
                "(2, 28.0, 28)",
                "(-2, 28, 28)",
                "((2,), 28, 28)",
                "(2L, 28L, 28L)",
                "()",
                "(999999999, 999999999, 4)",
            ]
        )
        descr = rng.choice(
            ["'|u1'", "'|u1'", "'u1'", "'|O'", "'<f4'", "[('a', '|u1')]", "('|u1', (2,))"]
        )
        entries = [f"'descr': {descr}", "'fortran_order': False", f"'shape': {shape}"]
        rng.shuffle(entries)
        header = self.mutate(("{" + ", ".join(entries) + ", }\n").encode(), 0.4)
        version = rng.choice([1, 1, 1, 2, 3, 0, 9])
        length = struct.pack(
            "<H" if version == 1 else "<I", rng.choice([len(header)] * 9 + [65535, 0])
        )
        data = rng.randbytes(rng.choice([1568, 1568, 9408, 16, 0, 784]))
        body = b"\x93NUMPY" + bytes([version, 0]) + length + header + data
        return self.post(rng.choice(["/v1/digits", "/v1/postcode"]), b"application/x-npy", body)

    def tensor(self) -> dict[str, Any]:
        rng = self.rng
        num = rng.choice([1, 1, 2, 5])
        shape = rng.choice(
            [[num, 28, 28], [num, 1, 28, 28], [num, 784], [True, 28, 28], [], [num, 28.0, 28]]
        )
        tensor = {
            "name": "image",
            "shape": shape,
            "datatype": rng.choice(["UINT8", "UINT8", "FP32", "BYTES"]),
        }
        if rng.random() < 0.2:
            tensor["parameters"] = rng.choice(
                [{"shared_memory_region": "r"}, {"binary_data_size": 784}, {}, None, 7]
            )
        tensor["data"] = rng.choice(
            [
                [0] * 784 * num,
                [[[rng.randrange(256)] * 28] * 28] * num,
                [0.5] * 784 * num,
                [],
                None,
                "a",
                [[0] * 27] * 28,
                ["0"] * 784,
                [None] * 784,
                [True] * 784,
                [{}],
                [[[[[[1]]]]]],
            ]
        )
        return tensor

    def infer_head(self, tensor: dict[str, Any]) -> bytes:
        rng = self.rng
        content: dict[str, Any] = {"inputs": [tensor] * rng.choice([1, 1, 1, 0, 2])}
        if rng.random() < 0.5:
            names = ["digit", "confidence", "accepted", "probabilities", "logits"]
            parameters = [
                {"binary_data": True},
                {"classification": 3},
                {"classification": rng.choice([0, -1, 2**70, "x", 1.5])},
                {"binary_data": 1},
                {"classification": 2, "binary_data": True},
                None,
                {},
                {"shared_memory_offset": 1},
            ]
            content["outputs"] = [
                {"name": rng.choice(names), "parameters": rng.choice(parameters)}
                for _ in range(rng.randint(0, 4))
            ]
        if rng.random() < 0.3:
            content["id"] = rng.choice(["a", "", "x" * 257, 7, None, "\ud83d\ude00"])
        if rng.random() < 0.3:
            content["parameters"] = rng.choice(
                [
                    {"binary_data_output": True},
                    {"sequence_id": 1},
                    {"binary_data_output": "x"},
                    [],
                    7,
                ]
            )
        return self.mutate(json.dumps(content).encode(), 0.4)

    def infer(self) -> Sent:
        kind = self.rng.choice([b"application/json", b"application/octet-stream", b""])
        return self.post(INFER, kind, self.infer_head(self.tensor()))

    def infer_binary(self) -> Sent:
        rng, tensor = self.rng, self.tensor()
        del tensor["data"]
        size = rng.choice([784, 784, 3136, 0, -1, 784.0, True, "784", 2**70])
        tensor["parameters"] = {"binary_data_size": size}
        head = self.infer_head(tensor)
        length = rng.choice(
            [b"%d" % len(head)] * 6 + [b"0", b"-1", b"1e3", b"\xb2", b" 5", b"9" * 30, b""]
        )
        tail = rng.choice(
            [bytes(784), rng.randbytes(3136), b"", struct.pack("<784f", *[0.5] * 784)]
        )
        return self.post(
            INFER,
            b"application/octet-stream",
            head + tail,
            (b"inference-header-content-length", length),
        )

    def classify(self) -> Sent:
        rng = self.rng
        images = rng.choice(
            [
                [[[0.5] * 28] * 28],
                [[[0] * 28] * 28] * 2,
                {"a": 1},
                [],
                None,
                7,
                "x",
                [[1]],
                [[[1] * 27] * 28],
                [[["0"] * 28] * 28],
                [[[None] * 28] * 28],
                [[[float("nan")] * 28] * 28],
                [[[1e300] * 28] * 28],
            ]
        )
        content = rng.choice(
            [{"images": images}, {"images": images, "x": 1}, {"image": images}, images]
        )
        body = self.mutate(json.dumps(content).encode(), 0.4)
        odd = [
            (b"batch-size", b"9"),
            (b"args-number", b"3"),
            (b"payload-container", b"PickleBytes"),
        ]
        return self.post("/classify", b"application/json", body, *rng.sample(odd, rng.randrange(3)))

    def any_path(self, paths: list[str]) -> Sent:
        method = self.rng.choice(["GET", "GET", "HEAD", "POST", "PUT", "OPTIONS", "TRACE", "X"])
        path = self.rng.choice(paths) + self.rng.choice(["", "", "", "/", "/../x", "\0", "é"])
        headers = [(b"content-type", self.rng.choice([b"image/png", b"application/json", b"\xff"]))]
        return Sent(method, path, self.query(), headers, self.rng.choice([b"", b"{}", *CROPS]))

    def mutate(self, text: bytes, chance: float) -> bytes:
        """Replace, repeat, cut or exchange some tokens."""
        rng = self.rng
        if rng.random() > chance:
            return text
        tokens = TOKEN.findall(text[:20_000]) or [b""]
        for _ in range(rng.randint(1, 4)):
            at = rng.randrange(len(tokens))
            kind = rng.randrange(6)
            if kind == 0:
                tokens[at] = rng.choice(ODD_BYTES)
            elif kind == 1:
                tokens[at] = rng.choice(ODD_NUMBERS).encode()
            elif kind == 2:
                tokens[at] = rng.choice(ODD_TEXTS).encode("utf-8", "surrogatepass")
            elif kind == 3:
                tokens[at] *= rng.choice([0, 2, 50, 1000])
            elif kind == 4:
                other = rng.randrange(len(tokens))
                tokens[at], tokens[other] = tokens[other], tokens[at]
            else:
                del tokens[at + 1 :]
        return b"".join(tokens) + text[20_000:]

    def with_odd_headers(self, sent: Sent) -> Sent:
        """Add, repeat and change headers, some of them not ASCII."""
        rng, headers = self.rng, list(sent.headers)
        names = [
            b"content-type",
            b"x-request-id",
            b"content-encoding",
            b"content-length",
            b"x-api-key",
            b"authorization",
            b"x-forwarded-for",
            b"forwarded",
            b"inference-header-content-length",
            b"traceparent",
            b"if-none-match",
            b"host",
            b"origin",
            b"x-\xff",
        ]
        for _ in range(rng.randint(1, 3)):
            values = [
                *ODD_BYTES,
                *(value for _, value in headers),
                b"1",
                b"identity",
                b"*",
                b"127.0.0.1",
            ]
            headers.insert(rng.randrange(len(headers) + 1), (rng.choice(names), rng.choice(values)))
        return Sent(sent.method, sent.path, sent.query, headers, sent.body)


@asynccontextmanager
async def living(app: Any) -> AsyncIterator[None]:
    """Run the application's start-up before the block, and its shutdown after it."""
    events: asyncio.Queue[dict[str, str]] = asyncio.Queue()
    told: asyncio.Queue[str] = asyncio.Queue()

    async def send(message: dict[str, str]) -> None:
        told.put_nowait(message["type"])

    events.put_nowait({"type": "lifespan.startup"})
    life = asyncio.create_task(app({"type": "lifespan"}, events.get, send))
    assert await told.get() == "lifespan.startup.complete"
    yield
    events.put_nowait({"type": "lifespan.shutdown"})
    await life


async def answer_of(app: Any, sent: Sent) -> tuple[int, bytes]:
    """The status and the body of the answer; 599 with the exception where there is none."""
    messages: list[dict[str, Any]] = []
    waiting = [{"type": "http.request", "body": sent.body, "more_body": False}]

    async def receive() -> dict[str, Any]:
        if waiting:
            return waiting.pop()
        await asyncio.Event().wait()
        raise AssertionError

    async def send(message: dict[str, Any]) -> None:
        messages.append(message)

    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": sent.method,
        "scheme": "http",
        "path": sent.path,
        "raw_path": sent.path.encode("utf-8", "replace"),
        "query_string": sent.query,
        "headers": sent.headers,
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 3000),
        "root_path": "",
    }
    try:
        await app(scope, receive, send)
    except Exception as error:  # noqa: BLE001  what is looked for
        return 599, repr(error).encode()
    return messages[0]["status"], b"".join(one.get("body", b"") for one in messages[1:])


def is_fault(status: int) -> bool:
    """Whether a body may not cause this status."""
    return not (200 <= status < 300 or 400 <= status < 500 or status in (304, 501))


def signature_of(sent: Sent, status: int, body: bytes) -> str:
    """What makes an answer a new one: route, status and the words of its detail."""
    detail = ""
    if status >= 400 and body.startswith(b"{"):
        detail = re.sub(r"'[^']*'|[^a-z ]+", "", json.loads(body)["detail"].lower())[:24]
    route = sent.path if status != 404 else "-"
    return f"{route} {status} {detail if status >= 400 else ''}"


async def fuzz(app: Any, *, num_requests: int, seed: int, minutes: float, keeps: bool) -> int:
    """Send the corpus, then `num_requests` new requests; the number of faults."""
    rng = random.Random(seed)
    grammar, seen, statuses = Grammar(rng), set(), Counter()
    paths, faults = list(app.routes), 0
    known = [Sent.from_json(path.read_text()) for path in sorted(CORPUS.glob("*.json"))]
    end = time.monotonic() + minutes * 60
    for number in range(len(known) + num_requests):
        if time.monotonic() > end:
            break
        if number < len(known):
            sent = known[number]
        else:
            sent = grammar.request(paths)
            if rng.random() < 0.15:
                sent = grammar.with_odd_headers(sent)
        status, body = await answer_of(app, sent)
        statuses[status] += 1
        signature = signature_of(sent, status, body)
        if is_fault(status):
            faults += 1
            print(f"FAULT {status} {sent.method} {sent.path} {body[:200]!r}", flush=True)
        if signature not in seen:
            seen.add(signature)
            if (
                keeps
                and number >= len(known)
                and (is_fault(status) or len(sent.body) < MAX_KEPT_BYTES)
            ):
                name = hashlib.sha256(signature.encode()).hexdigest()[:12]
                (CORPUS / f"{name}.json").write_text(sent.to_json() + "\n")
    print(f"{sum(statuses.values())} requests, {len(seen)} kinds of answer, {faults} faults")
    print(", ".join(f"{status}: {count}" for status, count in sorted(statuses.items())))
    return faults


def main() -> int:
    """Fuzz the service in this process, with the shipped champion; 1 if there is a fault."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--requests", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=60.0, help="stop after this time")
    parser.add_argument("--keep", action="store_true", help="add new kinds of answer to the corpus")
    args = parser.parse_args()
    os.environ["DIGITS_LOG_LEVEL"] = "error"
    os.environ["DIGITS_AUTH"] = "off"
    from service import DigitService

    app = DigitService.to_asgi()

    async def run() -> int:
        async with living(app):
            return await fuzz(
                app,
                num_requests=args.requests,
                seed=args.seed,
                minutes=args.minutes,
                keeps=args.keep,
            )

    return int(asyncio.run(run()) > 0)


if __name__ == "__main__":
    sys.exit(main())
