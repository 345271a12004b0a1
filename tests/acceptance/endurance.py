"""100,000 mixed requests must not leak memory, files or threads."""

import asyncio
import random
from pathlib import Path

from loadtest import digit_crops
from loadtest.clients.http1 import BrokenAnswer, Connection, Request, multipart
from loadtest.field_images import field_png
from tests.acceptance.harness import OURS, Report, Service

NUM, WARM, CALLERS = 100_000, 10_000, 16
GROWTH_MB = 10.0


def endurance(report: Report, kind: str) -> None:
    """Memory after 10,000 requests and after 100,000."""
    with Service(kind) as service:
        wires = [request.wire("127.0.0.1") for request in _mix(service)]
        asyncio.run(_send_all(service.port, wires, WARM))
        first_mb, files = service.rss_mb(), service.num_files()
        threads = _num_threads(service)
        asyncio.run(_send_all(service.port, wires, NUM - WARM))
        growth_mb = service.rss_mb() - first_mb
        report.fact("requests", NUM)
        report.fact("kinds", len(wires))
        report.fact("rss_mb_after_10000", first_mb)
        report.fact("rss_growth_mb_over_the_other_90000", growth_mb)
        report.fact("files_before_and_after", [files, service.num_files()])
        report.fact("threads_before_and_after", [threads, _num_threads(service)])
        report.expect("memory grows by less than 10 MB", growth_mb < GROWTH_MB)
        report.expect("no file is left open", service.num_files() <= files + 2)
        report.expect("no thread is left", _num_threads(service) <= threads + 1)
        if kind == OURS:
            metrics = service.get("/metrics")[2].decode()
            in_flight = [line for line in metrics.splitlines() if line.startswith("digits_in_fl")]
            report.fact("in_flight_at_the_end", in_flight)
            report.expect("no request is left under way", in_flight == ["digits_in_flight 0.0"])


def _mix(service: Service) -> list[Request]:
    crops = digit_crops.spread(digit_crops.load(), 40)
    good = [crop.png for crop in crops]
    requests = [service.crop_request(png) for png in good]
    bad = [good[0][:60], b"", bytes(2000), good[1] + b"x" * 3000]
    requests += [service.crop_request(png) for png in bad]
    if service.kind == OURS:
        requests += [
            Request("/v1/digit?top_k=9", "image/png", good[0]),
            Request("/v1/digit", "text/plain", good[0]),
            Request("/v1/nothing", "image/png", good[0]),
            multipart("/v1/digits", "images", good[:4], {}),
            multipart("/v1/postcode", "images", good[:5], {}),
            Request("/v1/field?digits=5", "image/png", field_png(crops[:5], random.Random(1))),
            Request("/v2/models/digits/infer", "application/json", b'{"inputs":[]}'),
        ]
    return requests


async def _send_all(port: int, wires: list[bytes], num: int) -> None:
    rng = random.Random(num)
    left = iter(range(num))

    async def caller() -> None:
        connection = await Connection.open("127.0.0.1", port)
        for number in left:
            try:
                if number % 200 == 0:  # some clients reconnect
                    connection.close()
                    connection = await Connection.open("127.0.0.1", port)
                await connection.send(rng.choice(wires))
            except (BrokenAnswer, OSError):  # a refusal may close the connection
                connection.close()
                connection = await Connection.open("127.0.0.1", port)
        connection.close()

    await asyncio.gather(*(caller() for _ in range(CALLERS)))
    await asyncio.sleep(1.0)  # wait until the server has seen the last closes


def _num_threads(service: Service) -> int:
    return sum(len(list(Path(f"/proc/{pid}/task").iterdir())) for pid in service.worker_pids())


CHECKS = {"endurance": endurance}
