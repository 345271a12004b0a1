"""BentoML as its documentation serves an image model: a sync API that takes a PIL image."""

import bentoml
import numpy as np
from PIL.Image import Image

from loadtest.bench.peers.same_work import Reader
from model.preprocess import preprocess


@bentoml.service(workers=1)
class Documented:
    def __init__(self) -> None:
        self.reader = Reader()

    @bentoml.api(route="/digit")
    def digit(self, image: Image) -> dict:
        crop = np.asarray(image.convert("L"))
        return self.reader.answers(preprocess(crop)[None])[0]
