"""LitServe: a LitAPI on an uploaded file, with LitServe's own batching if argument 2 exceeds 1."""

import sys

import litserve
import numpy as np
from fastapi import UploadFile

from loadtest.bench.peers.same_work import Reader


class Digits(litserve.LitAPI):
    def setup(self, device: str) -> None:  # noqa: ARG002 (LitServe's)
        self.reader = Reader()

    def decode_request(self, request: UploadFile) -> np.ndarray:
        return self.reader.frame(request.file.read())

    def predict(self, images: np.ndarray | list[np.ndarray]) -> dict | list[dict]:
        if isinstance(images, list):
            return self.reader.answers(np.stack(images))
        return self.reader.answers(images[None])[0]

    def encode_response(self, output: dict) -> dict:
        return output

    def batch(self, inputs: list[np.ndarray]) -> list[np.ndarray]:
        return inputs

    def unbatch(self, output: list[dict]) -> list[dict]:
        return output


if __name__ == "__main__":
    port, batch = int(sys.argv[1]), int(sys.argv[2])
    window_s = 0.002 if batch > 1 else 0.0
    api = Digits(api_path="/digit", max_batch_size=batch, batch_timeout=window_s)
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=1)
    server.run(host="127.0.0.1", port=port, num_api_servers=1, generate_client_file=False)
