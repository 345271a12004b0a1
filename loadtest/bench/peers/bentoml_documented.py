"""BentoML as its documentation serves an image model: a sync API that takes a PIL image."""

import bentoml
from PIL.Image import Image

from loadtest.bench.peers.same_work import Reader


@bentoml.service(workers=1)
class Documented:
    def __init__(self) -> None:
        self.reader = Reader()

    @bentoml.api(route="/digit")
    def digit(self, image: Image) -> dict:
        image.fp.seek(0)  # BentoML opened the picture and left it undecoded
        return self.reader.read(image.fp.read())
