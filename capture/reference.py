"""The drift reference: what the champion saw and answered on data whose truth is known.

Promotion makes it from validation predictions and packs it with the model. So a report compares
mail with the data that the model was validated on.
"""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

import model
from capture import features
from capture.predictions import Predictions
from capture.store import Folder, MissingKey, open_store
from model.errors import BlankCrop
from model.preprocess import frame

MAX_ROWS: Final = 5_000
CHAMPION: Final = Path(model.__file__).parent / "champion" / "reference.parquet"
_SEED = 7
_META: Final = b"digitline_reference"

NUMERIC: Final = (
    *features.IMAGE_FEATURES,
    *features.CROP_FEATURES,
    "aspect",
    "num_dropped",
    "confidence",
    *features.SCORE_FEATURES,
    "garbage",
)
CATEGORICAL: Final = ("digit", "polarity")
DARK_INK, LIGHT_INK = "dark ink", "light ink"


class ReferenceMissing(FileNotFoundError):
    """There is no reference file: the champion was promoted without one."""


@dataclass(frozen=True, slots=True)
class Reference:
    """Rows with the columns NUMERIC, CATEGORICAL and `label`, and how the model decided.

    Where a week of mail was adopted, `rows` are of that mail and have no label.
    """

    rows: pd.DataFrame
    model_version: str
    threshold: float
    garbage_threshold: float
    days: str = ""  # of the mail; "" where the rows are validation data
    of_sites: pd.DataFrame | None = None  # of the mail: more rows of small sites, and blank crops
    judged: pd.DataFrame | None = None  # validation data, where the rows are mail

    @property
    def truth(self) -> pd.DataFrame:
        """The rows whose label is known."""
        return self.rows if self.judged is None else self.judged

    def is_rejected(self, threshold: float) -> NDArray[np.bool_]:
        """Which rows an accept threshold would reject; a deployment may choose its own."""
        return self._is_rejected(self.rows, threshold)

    def _is_rejected(self, rows: pd.DataFrame, threshold: float) -> NDArray[np.bool_]:
        below = rows["confidence"].to_numpy() < threshold
        rejected: NDArray[np.bool_] = below | (rows["garbage"].to_numpy() > self.garbage_threshold)
        return rejected

    def accepted_truth(self, threshold: float) -> pd.DataFrame:
        """The rows with a known label that a threshold accepts."""
        return self.truth[~self._is_rejected(self.truth, threshold)]

    def accepted_errors(self, threshold: float) -> NDArray[np.bool_]:
        """Of the rows with a known label that a threshold accepts, which were read wrong."""
        accepted = self.accepted_truth(threshold)
        wrong: NDArray[np.bool_] = (accepted["digit"] != accepted["label"]).to_numpy(bool)
        return wrong


def build(predictions: Predictions) -> Reference:
    """Describe at most `MAX_ROWS` predictions, chosen by a fixed seed, as reports describe mail.

    A crop without ink is left out, because it has no features.
    """
    chosen = np.sort(np.random.default_rng(_SEED).permutation(len(predictions.crops))[:MAX_ROWS])
    probs = predictions.probs[chosen].astype(np.float32)
    named = [
        (features.IMAGE_FEATURES, features.image_features(predictions.images[chosen])),
        (
            features.CROP_FEATURES,
            np.stack([features.crop_features(predictions.crops[n]) for n in chosen]),
        ),
        (features.SCORE_FEATURES, features.score_features(probs)),
    ]
    columns = {name: values[:, n] for names, values in named for n, name in enumerate(names)}
    geometry = [_geometry(predictions.crops[n]) for n in chosen]
    rows = pd.DataFrame(
        {
            **columns,
            "aspect": [one[0] for one in geometry],
            "num_dropped": [one[1] for one in geometry],
            "polarity": [one[2] for one in geometry],
            "confidence": probs.max(axis=1),
            "garbage": predictions.garbage[chosen],
            "digit": probs.argmax(axis=1).astype(str),
            "label": predictions.labels[chosen].astype(str),
        }
    )
    rows = rows[rows["polarity"].notna()].reset_index(drop=True)
    rows["garbage"] = rows["garbage"].where(np.isfinite(rows["garbage"]))
    return Reference(
        rows=rows.astype(dict.fromkeys(NUMERIC, np.float32)),
        model_version=predictions.model_version,
        threshold=predictions.threshold,
        garbage_threshold=predictions.garbage_threshold,
    )


def _geometry(crop: NDArray[np.uint8]) -> tuple[float, float, str | None]:
    try:
        framed = frame(crop)
    except BlankCrop:
        return float("nan"), float("nan"), None
    return framed.aspect, float(framed.num_dropped), LIGHT_INK if framed.inverted else DARK_INK


def to_parquet(reference: Reference) -> bytes:
    """Encode a reference with its thresholds in the file's metadata."""
    meta = {
        "model_version": reference.model_version,
        "threshold": reference.threshold,
        "garbage_threshold": reference.garbage_threshold,
        "days": reference.days,
    }
    table = pa.Table.from_pandas(reference.rows, preserve_index=False)
    table = table.replace_schema_metadata({_META: json.dumps(meta)})
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd", compression_level=19)
    return sink.getvalue()


def load(name: str, champion: str | None = None) -> Reference:
    """Load ``champion``, or the file at a path.

    Args:
        name: "champion" or a path.
        champion: its folder, or s3://bucket/prefix; None: the shipped one.

    Raises:
        ReferenceMissing: no such file.
        ValueError: the file is not a reference.
        StoreError: the store of the champion cannot be read.
    """
    folder, file = open_store(champion or str(CHAMPION.parent)), CHAMPION.name
    if name != "champion":
        folder, file = Folder(Path(name).parent), Path(name).name
    try:
        data = folder.get(file)
    except MissingKey as error:
        raise ReferenceMissing(
            f"no drift reference at {folder.url}/{file}: promote a model, or make one with "
            f"`python -m monitoring reference --from predictions.npz --out {folder.url}/{file}`"
        ) from error
    return from_parquet(data, f"{folder.url}/{file}")


def from_parquet(data: bytes, name: str) -> Reference:
    """Read what `to_parquet` wrote; ValueError if the file of this name is something else."""
    table = pq.read_table(io.BytesIO(data))
    meta = json.loads((table.schema.metadata or {}).get(_META, b"null"))
    missing = {*NUMERIC, *CATEGORICAL, "label"} - set(table.column_names)
    if meta is None or missing:
        raise ValueError(
            f"{name} is not a drift reference; it lacks {sorted(missing) or 'its metadata'}"
        )
    return Reference(rows=table.to_pandas(), **meta)
