"""TorchServe: a custom handler; the front end batches requests and sends them through a socket."""

import numpy as np
from ts.torch_handler.base_handler import BaseHandler

from loadtest.bench.peers.same_work import Reader


class Digits(BaseHandler):
    def initialize(self, context) -> None:  # noqa: ARG002 (TorchServe's)
        self.reader = Reader()
        self.initialized = True

    def handle(self, data, context) -> list[dict]:  # noqa: ARG002 (TorchServe's)
        frames = [self.reader.frame(bytes(row.get("data") or row.get("body"))) for row in data]
        return self.reader.answers(np.stack(frames))
