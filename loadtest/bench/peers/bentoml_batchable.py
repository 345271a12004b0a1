"""BentoML with its own adaptive batching: a batch of PIL images in, a list of answers out."""

import bentoml
import numpy as np
from PIL.Image import Image

from loadtest.bench.peers.same_work import Reader
from model.preprocess import preprocess


@bentoml.service(workers=1)
class Batchable:
    def __init__(self) -> None:
        self.reader = Reader()

    @bentoml.api(route="/digit", batchable=True, max_batch_size=64)  # default max_latency_ms: 60 s
    async def digit(self, images: list[Image]) -> list[dict]:
        frames = [preprocess(np.asarray(image.convert("L"))) for image in images]
        return self.reader.answers(np.stack(frames))
