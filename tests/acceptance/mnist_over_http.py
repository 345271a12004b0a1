"""Post all 10,000 MNIST test digits as PNG files, one for each request; count right answers.

    python -m tests.acceptance.mnist_over_http http://localhost:3000

Exit code 1 if the accuracy over HTTP is below the floor, or if an answer differs from that of the
same model in this process.
"""

import io
import sys
from concurrent.futures import ThreadPoolExecutor

import httpx
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from model import artifact
from model.classifier import Classifier
from model.preprocess import preprocess
from training.config import DataConfig
from training.data.datasets import load_mnist

FLOOR = 0.993
SCANNERS = 8


def main(address: str) -> int:
    test = load_mnist(DataConfig()).test
    with (
        httpx.Client(base_url=address, timeout=10) as client,
        ThreadPoolExecutor(SCANNERS) as scanners,
    ):
        answers = scanners.map(lambda image: read(client, image), test.images)
        digits = np.array(list(tqdm(answers, total=len(test), desc="posted", unit="crop")))
    accuracy = float((digits == test.labels).mean())
    in_process = classify(test.images)
    num_different = int((digits != in_process).sum())
    sys.stdout.write(
        f"{len(digits)} posted, {int((digits == test.labels).sum())} right: {accuracy:.2%}; "
        f"{num_different} different from the answer in process\n"
    )
    return 0 if accuracy >= FLOOR and num_different == 0 else 1


def read(client: httpx.Client, image: NDArray[np.uint8]) -> int:
    """The digit that the service reads."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    response = client.post(
        "/v1/digit", content=file.getvalue(), headers={"content-type": "image/png"}
    )
    response.raise_for_status()
    return int(response.json()["digit"])


def classify(images: NDArray[np.uint8]) -> NDArray[np.intp]:
    """The digits that the champion reads in (N, 28, 28) crops, without a service."""
    classifier = Classifier(artifact.load().onnx_bytes)
    logits = [classifier(preprocess(image)[np.newaxis]).logits[0] for image in images]
    return np.argmax(logits, axis=1)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1] if len(sys.argv) > 1 else "http://localhost:3000"))
