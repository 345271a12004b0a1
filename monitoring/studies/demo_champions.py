"""The champions of the demo: the shipped one, and one before it.

The one before is the shipped model with noise on the weights of its last layer, and says so in its
files: nothing was fitted for it. Imports nothing heavy, because reading the mail waits for it.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from model import artifact
from model.champion_files import sealed
from monitoring.studies.demo_places import CHAMPION, FORMER
from training import promotion_log
from training.promotion_log import Promotion

NETWORK: Final = "demo: the champion with noise on its last layer"
_LAST_LAYER: Final = "digit_head.weight"
_NOISE: Final = 0.3  # of the weights' standard deviation


def make_champions(folder: Path, *, now: datetime, switched: datetime) -> None:
    """Copy the shipped champion, make one before it, and log two promotions.

    Args:
        folder: of the demo.
        now: time of the demo.
        switched: when the shipped champion replaced the one before.
    """
    champion, former = folder / CHAMPION, folder / FORMER
    shutil.copytree(artifact.CHAMPION, champion)
    shutil.copytree(artifact.CHAMPION, former, ignore=shutil.ignore_patterns("weights.pt", "card"))
    manifest = json.loads((former / "manifest.json").read_text())
    data = noisy(artifact.CHAMPION / "model.onnx", _NOISE, seed=6)
    began = now - timedelta(days=60)
    version = str(int(manifest["version"]) - 1)
    manifest |= {
        "version": version,
        "sha256": hashlib.sha256(data).hexdigest(),
        "size_bytes": len(data),
        "network": NETWORK,
        "created": text_of(began),
    }
    del manifest["weights_sha256"]
    (former / "model.onnx").write_bytes(data)
    (former / "manifest.json").write_text(json.dumps(sealed(manifest), indent=1) + "\n")
    (former / "MODEL_CARD.md").write_text(f"# Version {version}\n\n{NETWORK.capitalize()}.\n")
    shipped = artifact.load(champion)
    first, reason = "demo: first model", "demo: the shipped model, without the noise"
    promoted = (
        Promotion(text_of(began), "dora", None, version, manifest["sha256"], first),
        Promotion(text_of(switched), "dora", version, shipped.version, shipped.sha256, reason),
    )
    for entry in promoted:
        promotion_log.append(entry, champion)


def noisy(path: Path, noise: float, *, seed: int) -> bytes:
    """A model with noise on the weights of its last layer."""
    model = onnx.load(path)
    rng = np.random.default_rng(seed)
    (layer,) = (one for one in model.graph.initializer if one.name == _LAST_LAYER)
    weights: NDArray[np.float32] = numpy_helper.to_array(layer)
    changed = weights + rng.normal(0, noise * weights.std(), weights.shape)
    layer.CopyFrom(numpy_helper.from_array(changed.astype(np.float32), _LAST_LAYER))
    data: bytes = model.SerializeToString()
    return data


def text_of(moment: datetime) -> str:
    """ISO 8601 in UTC, as manifests and logs have it."""
    return moment.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
