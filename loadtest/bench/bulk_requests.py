"""Part `crops` of the benchmark: many crops in one request, beside the same work in a bare loop."""

import asyncio
import io
from collections.abc import Callable
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from loadtest import digit_crops
from loadtest.bench.contender import Contender
from loadtest.bench.peers.same_work import Reader
from loadtest.bench.stage_times import seconds_each
from loadtest.clients import wrk
from loadtest.clients.http1 import Request, multipart
from loadtest.digit_crops import LabelledCrop
from loadtest.process import pinned_to
from loadtest.servers import SERVER_CORE, Server
from model.decode import decode
from model.framed import Framed
from model.preprocess import frame_many

PACKED: Final = (64, 256, 1024)
NUM_FILES: Final = 64
CALLERS: Final = 2  # one request waits while another is processed


def packed_request(server: Server, samples: list[LabelledCrop], num_crops: int) -> Request:
    """One /v1/digits request with N 28x28 crops as one uint8 array in NumPy's file format."""
    rows = [crop.pixels() for crop in samples]
    file = io.BytesIO()
    np.save(file, np.stack([rows[index % len(rows)] for index in range(num_crops)]))
    return Request("/v1/digits", "application/x-npy", file.getvalue(), server.headers)


def files_request(server: Server, samples: list[LabelledCrop]) -> Request:
    """One /v1/digits request with PNG files in a multipart form."""
    files = [crop.png for crop in samples]
    return multipart("/v1/digits", "images", files, server.headers)


def many_crops(contender: Contender) -> dict[str, float]:
    """Crops a second in /v1/digits, and in a bare loop of the same work on the same core."""
    server = contender.server
    framed = digit_crops.workload(28, NUM_FILES)
    loose = [
        digit_crops.resized(crop, 28) for crop in digit_crops.spread(digit_crops.load(), NUM_FILES)
    ]
    figures: dict[str, float] = {}
    for size in PACKED:
        figures[f"packed_{size}"] = size * _rate(contender, packed_request(server, framed, size))
    figures["loose_256"] = 256 * _rate(contender, packed_request(server, loose, 256))
    figures["files_64"] = NUM_FILES * _rate(contender, files_request(server, framed))
    contender.running.pause()
    with pinned_to(SERVER_CORE):
        figures |= bare_rates(framed, loose)
    contender.running.resume()
    return figures


def _rate(contender: Contender, request: Request) -> float:
    answer = asyncio.run(contender.ask(request))
    assert answer.status == 200, (answer.status, answer.body[:300])
    result = wrk.saturate(
        contender.port,
        [request],
        connections=CALLERS,
        duration_s=contender.config.saturate_s,
    )
    return result.rps


def bare_rates(framed: list[LabelledCrop], loose: list[LabelledCrop]) -> dict[str, float]:
    """Crops a second of decoding, preprocessing and inference in a loop without a server."""
    reader = Reader()

    def rate(inputs: list[Any], to_crops: Callable[[list[Any]], list[NDArray[np.uint8]]]) -> float:
        def work() -> None:
            framed = [one for one in frame_many(to_crops(inputs)) if isinstance(one, Framed)]
            reader.classifier(np.stack([one.image for one in framed]))

        return len(inputs) / seconds_each(work, 40)

    return {
        "bare_packed": rate([crop.pixels() for crop in framed], list),
        "bare_loose": rate([crop.pixels() for crop in loose], list),
        "bare_files": rate([crop.png for crop in framed], lambda files: list(map(decode, files))),
    }
