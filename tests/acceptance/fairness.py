"""One sender must not stop the others: neighbours at 100 requests a second beside each attack.

Each check is one kind of attack, with as many members of the kind as were thought of; `--quick`
takes the first. 0 of the neighbour's requests may fail, and their p99 may grow by half or 20 ms.
"""

import io
from collections.abc import Iterator, Mapping
from typing import Final

import numpy as np
from PIL import Image

from loadtest.clients.http1 import Request
from tests.acceptance import costly_members
from tests.acceptance.attackers import STRANGER, bursts, hold, never_read, repeat
from tests.acceptance.harness import Load, Report, one_crop, only_ours, pinned
from tests.acceptance.neighbours import Keyed, keyed, stays_fair

NUM_SENDERS, PAUSE_S = 8, 0.05
UNREAD_BYTES, GROWTH_MB = 250_000, 60.0
LOG_MB: Final = 1.0
NUM_FILES: Final = 1024


def costly_jpeg(report: Report, kind: str) -> None:
    """JPEGs whose header or passes take long: tiny segments, progressive scans, huge tables."""
    _costly(report, kind, costly_members.JPEGS)


def ancillary_png(report: Report, kind: str) -> None:
    """PNGs whose chunks unpack megabytes or are very many, alone and in bulk."""
    _costly(report, kind, costly_members.PNGS)


def wide_png_bulk(report: Report, kind: str) -> None:
    """Bulk bodies of legal, small, costly crops, and of very many cheap ones."""
    _costly(report, kind, costly_members.BULKS)


def costly_fields(report: Report, kind: str) -> None:
    """Whole fields that take long to split or to decide, of 4 Mpx and full of strokes."""
    _costly(report, kind, costly_members.FIELDS)


def regex(report: Report, kind: str) -> None:
    """Patterns that backtrack, over twelve crops of noise; the sender is answered in time, too."""
    only_ours(kind)
    noise = np.random.default_rng(3).integers(0, 256, (12, 28, 28), dtype=np.uint8)
    body, content_type = costly_members.npy(noise), "application/x-npy"
    with keyed(core=0) as it, pinned(1):
        load, key = Load(it.service, {"X-Api-Key": it.calm}), {"X-Api-Key": it.loud}
        for pattern in _first(report, _PATTERNS):
            path = f"/v1/postcode?pattern={pattern}"
            wires = [Request(path, content_type, body, key).wire("a")]
            counts = stays_fair(
                report, pattern, load, it.service.port, repeat, wires, NUM_SENDERS, PAUSE_S
            )
            report.expect(f"{pattern}: in time, or refused", not {"500", "504"} & set(counts))
            alone = it.service.ask("POST", path, body, {"Content-Type": content_type, **key})[0]
            report.fact(f"{pattern}: alone", alone)
            report.expect(f"{pattern}: alone no 5xx", alone in (200, 400, 422))


def _costly(report: Report, kind: str, members: costly_members.Members) -> None:
    """Each member from eight connections of the attacker's key, again and again."""
    only_ours(kind)
    with keyed(core=0) as it, pinned(1):
        load = Load(it.service, {"X-Api-Key": it.calm})
        for name in _first(report, members):
            wire = members[name](it.loud)
            counts = stays_fair(
                report, name, load, it.service.port, repeat, [wire], NUM_SENDERS, PAUSE_S
            )
            report.expect(f"{name}: the sender is answered", any(one.isdigit() for one in counts))


def held_bodies(report: Report, kind: str) -> None:
    """Bodies that never end: bulk ones of nearly 8 MB, chunked ones, hundreds of small ones."""
    only_ours(kind)
    head = "POST {} HTTP/1.1\r\nHost: a\r\nX-Api-Key: {}\r\nContent-Type: {}\r\n{}\r\n\r\n"
    long, chunked = "Content-Length: 8388600", "Transfer-Encoding: chunked"
    with keyed(core=0) as it, pinned(1):
        load = _large_crops(it)
        npy = "application/x-npy"
        bulk = head.format("/v1/digits", it.loud, npy, long).encode() + bytes(8_380_000)
        chunks = head.format("/v1/digits", it.loud, npy, chunked).encode()
        chunks += b"10000\r\n" + bytes(65_536) + b"\r\n"
        few = head.format("/v1/digit", it.loud, "image/png", "Content-Length: 250000").encode()
        many = head.format("/v1/digits", it.loud, npy, long).encode()
        stranger = head.format("/v1/digits", "wrong", npy, long).encode() + bytes(1_000_000)
        members: dict[str, tuple[bytes, int, bytes, str]] = {
            "16 bulk bodies": (bulk, 16, b"", "127.0.0.1"),
            "64 chunked bodies": (chunks, 64, b"1\r\n0\r\n", "127.0.0.1"),
            "700 single bodies": (few, 700, b"\0", "127.0.0.1"),
            "700 bulk bodies begun": (many, 700, b"\0", "127.0.0.1"),
            "700 headers": (few[:40], 700, b"a", STRANGER),
            "64 bodies without a key": (stranger, 64, b"\0", STRANGER),
        }
        for name in _first(report, members):
            beginning, num, trickle, source = members[name]
            stays_fair(
                report,
                name,
                load,
                it.service.port,
                hold,
                beginning,
                num,
                trickle,
                source=source,
            )


def connections(report: Report, kind: str) -> None:
    """One address opens more connections than there are descriptors; others still connect."""
    only_ours(kind)
    limit = ("prlimit", f"--nofile={NUM_FILES}")
    with keyed(core=0, prefix=limit) as it, pinned(1):
        load = Load(it.service, {"X-Api-Key": it.calm, "Connection": "close"})
        members = {"idle": b"", "a header begun": b"POST /v1/digit HTTP/1.1\r\nHost: a\r\n"}
        for name in _first(report, members):
            stays_fair(
                report,
                name,
                load,
                it.service.port,
                hold,
                members[name],
                NUM_FILES,
                b"",
                1.0,
                source=STRANGER,
            )


def pipelined(report: Report, kind: str) -> None:
    """Forty keyless connections pipeline 10 MB of requests and read nothing; memory is bounded."""
    only_ours(kind)
    host = b"Host: a\r\n"
    body = b"Content-Type: image/png\r\nContent-Length: 40\r\n\r\n" + bytes(40)
    members = {
        "GET /livez": b"GET /livez HTTP/1.1\r\n" + host + b"\r\n",
        "GET /openapi.json": b"GET /openapi.json HTTP/1.1\r\n" + host + b"\r\n",
        "POST without a key": b"POST /v1/digit HTTP/1.1\r\n" + host + body,
        "GET of no path": b"GET /nothing HTTP/1.1\r\n" + host + b"\r\n",
        "GET /metrics": b"GET /metrics HTTP/1.1\r\n" + host + b"\r\n",
        "HEAD": b"HEAD / HTTP/1.1\r\n" + host + b"\r\n",
    }
    for name in _first(report, members):
        with keyed(core=0) as it, pinned(1):
            load = Load(it.service, {"X-Api-Key": it.calm})
            before_mb = it.service.rss_mb()
            stays_fair(
                report,
                name,
                load,
                it.service.port,
                never_read,
                members[name],
                40,
                UNREAD_BYTES,
                source=STRANGER,
            )
            peak_mb = it.service.peak_rss_mb()
            report.fact(f"{name}: memory MB before and at its peak", [before_mb, peak_mb])
            report.expect(f"{name}: memory bounded", peak_mb - before_mb < GROWTH_MB)


def upgrades(report: Report, kind: str) -> None:
    """Segments of 400 requests that ask for another protocol, or that are broken; a small log."""
    only_ours(kind)
    line = b"GET /livez HTTP/1.1\r\nHost: a\r\n"
    upgrade = b"Connection: Upgrade\r\nUpgrade: "
    members = {
        "upgrade": line + upgrade + b"x\r\n\r\n",
        "h2c": line + b"HTTP2-Settings: AAMAAABk\r\n" + upgrade + b"h2c\r\n\r\n",
        "websocket": line
        + b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        + upgrade
        + b"websocket\r\n\r\n",
        "upgrade with a body": b"POST /v1/digit HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n"
        + upgrade
        + b"x\r\n\r\nb",
        "refused": b"POST /v1/digit HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
        "no HTTP": b"\0\1\2\r\n\r\n",
        "no path": b"GET /nothing HTTP/1.1\r\nHost: a\r\n\r\n",
    }
    for name in _first(report, members):
        with keyed(core=0) as it, pinned(1):
            load = Load(it.service, {"X-Api-Key": it.calm})
            stays_fair(
                report,
                name,
                load,
                it.service.port,
                bursts,
                members[name],
                400,
                PAUSE_S,
                source=STRANGER,
            )
            log_mb = it.service.log_path.stat().st_size / 1e6
            report.fact(f"{name}: log MB", log_mb)
            report.expect(f"{name}: the log stays small", log_mb < LOG_MB)
            report.expect(f"{name}: no traceback", "Traceback" not in it.service.log)


def _first(report: Report, members: Mapping[str, object]) -> Iterator[str]:
    yield from list(members)[: 1 if report.is_quick else None]


def _large_crops(it: Keyed) -> Load:
    """A neighbour whose crops are 90 KB, so that their bodies arrive in several pieces."""
    paper = Image.new("L", (300, 300), 255)
    paper.paste(Image.open(io.BytesIO(one_crop())).convert("L"), (130, 130))
    stream = io.BytesIO()
    paper.save(stream, "PNG", compress_level=0)
    return Load(it.service, {"X-Api-Key": it.calm}, [stream.getvalue()])


_PATTERNS: Final[Mapping[str, object]] = dict.fromkeys(
    (
        "(.?)%7B999%7D",
        "(.*)*",
        "((.?)%7B99%7D)%7B9%7D",
        "(.%7B0,99%7D)%7B99%7D5",
        "(%5Cd%7C%5Cd)*x",
        "(%5Cd+)+$",
        "(.?.?.?.?)%7B200%7D",
    )
)

CHECKS: Final = {
    "fair-costly-jpeg": costly_jpeg,
    "fair-ancillary-png": ancillary_png,
    "fair-wide-png-bulk": wide_png_bulk,
    "fair-costly-fields": costly_fields,
    "fair-held-bodies": held_bodies,
    "fair-connections": connections,
    "fair-pipelined": pipelined,
    "fair-upgrades": upgrades,
    "fair-regex": regex,
}
