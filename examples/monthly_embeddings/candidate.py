"""A month's candidate as the files of a champion: text network, gallery, reference of its drift."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from examples.monthly_embeddings.features import Features
from examples.monthly_embeddings.judging import Champion
from examples.monthly_embeddings.pairs import Snapshot
from examples.monthly_embeddings.projection import Projection, from_bytes
from examples.monthly_embeddings.search_model import RULES, SearchModel, drift_features, load_model
from examples.monthly_embeddings.towers import Weights
from model.champion_files import MANIFEST, MODEL, VerifiedFiles
from monitoring.answer_drift import to_reference
from training.gate_verdict import Reason, at_most
from training.promotion import Candidate

NAME: Final = "monthly-embeddings"
PROJECTION: Final = "projection.npz"  # the next month is judged by it
REFERENCE: Final = "reference.parquet"
OF_TRAINING: Final = (PROJECTION, REFERENCE)  # files of a champion that serving does not read
EXPORTED: Final = (*RULES.names, REFERENCE)
INPUTS: Final = ("input_ids", "attention_mask", "token_type_ids")
ONNX_DIFFERENCE: Final = 1e-4
NUM_GOLDEN: Final = 200
BATCH: Final = 32


def text_network(minilm: bytes, fitted: Projection) -> bytes:
    """MiniLM, the mean of its tokens and the projection: tokens -> vector [N, T] of length 1."""
    model = onnx.load_from_string(minilm)
    graph = model.graph
    states = graph.output[0].name
    constants = {
        "hidden_axis": np.array([2], np.int64),
        "token_axis": np.array([1], np.int64),
        "text_mean": fitted.text_mean.astype(np.float32),
    }
    graph.initializer.extend(
        numpy_helper.from_array(value, name) for name, value in constants.items()
    )
    make = helper.make_node
    graph.node.extend(
        [
            make("Cast", ["attention_mask"], ["mask_float"], to=TensorProto.FLOAT),
            make("Unsqueeze", ["mask_float", "hidden_axis"], ["mask_wide"]),
            make("Mul", [states, "mask_wide"], ["masked"]),
            make("ReduceSum", ["masked", "token_axis"], ["summed"], keepdims=0),
            make("LpNormalization", ["summed"], ["unit"], axis=-1, p=2),
            make("Sub", ["unit", "text_mean"], ["centred"]),
            make("LpNormalization", ["centred"], ["vector"], axis=-1, p=2),
        ]
    )
    del graph.output[:]
    width = len(fitted.text_mean)
    graph.output.append(helper.make_tensor_value_info("vector", TensorProto.FLOAT, ["N", width]))
    content: bytes = model.SerializeToString()
    return content


def export(folder: Path, as_of: str, taken: Snapshot, features: Features, weights: Weights) -> None:
    """Write the files of a champion for the projection that the folder has."""
    fitted = load_projection(folder)
    pairs, months = taken.pairs, taken.months_of_pairs
    shown = [{"name": pair.name, "month": m} for pair, m in zip(pairs, months, strict=True)]
    gallery = fitted.images(features.images)
    golden = _golden(fitted.texts(features.texts), gallery, taken.is_test)
    content = io.BytesIO()
    np.save(content, gallery, allow_pickle=False)
    manifest = {
        "month": as_of,
        "data_version": taken.version,
        "golden": {"text": pairs[golden].text, "name": pairs[golden].name},
    }
    files = {
        MODEL: text_network(weights.minilm, fitted),
        "tokenizer.json": weights.tokenizer,
        "gallery.npy": content.getvalue(),
        "gallery.json": json.dumps(shown, ensure_ascii=False).encode(),
        MANIFEST: json.dumps(manifest, ensure_ascii=False).encode(),
    }
    for name, data in files.items():
        (folder / name).write_bytes(data)
    (folder / REFERENCE).write_bytes(_reference(_served(folder), tested_texts(taken)))


def load_projection(folder: Path) -> Projection:
    """Of a candidate or a champion."""
    return from_bytes((folder / PROJECTION).read_bytes())


def load_champion(folder: Path) -> Champion | None:
    """What the candidate is compared with; None where nothing is served yet."""
    if not (folder / MANIFEST).exists():
        return None
    month = json.loads((folder / MANIFEST).read_bytes())["month"]
    return Champion(month, load_projection(folder))


def tested_texts(taken: Snapshot) -> list[str]:
    """The texts of the test share."""
    return [pair.text for pair in taken.pairs if pair.is_test]


def is_as_fitted(folder: Path, taken: Snapshot, features: Features) -> Reason:
    """Whether the exported network embeds the test share as the projection says."""
    expected = load_projection(folder).texts(features.texts[taken.is_test])
    difference = float(np.abs(_embed(_served(folder), tested_texts(taken)) - expected).max())
    return at_most("largest difference of a served embedding", difference, ONNX_DIFFERENCE)


def read(folder: Path, metrics: Mapping[str, float], towers: str) -> Candidate:
    """What is promoted, from its files and the gate's numbers."""
    manifest = json.loads((folder / MANIFEST).read_bytes())
    beside = (*(name for name in RULES.names if name not in (MANIFEST, MODEL)), *OF_TRAINING)
    return Candidate(
        name=NAME,
        onnx_bytes=(folder / MODEL).read_bytes(),
        example={name: np.ones((1, 8), np.int64) for name in INPUTS},
        metrics=metrics,
        manifest=manifest,
        files={name: (folder / name).read_bytes() for name in beside},
        data={"snapshot": manifest["data_version"], "networks": towers},
    )


def _served(folder: Path) -> SearchModel:
    """The candidate as the service would load it."""
    files = {name: (folder / name).read_bytes() for name in RULES.names}
    manifest = json.loads(files[MANIFEST])
    return load_model(VerifiedFiles(files[MODEL], "candidate", "", manifest, files))


def _embed(model: SearchModel, texts: Sequence[str]) -> NDArray[np.float32]:
    parts = [model.embed(texts[start : start + BATCH]) for start in range(0, len(texts), BATCH)]
    return np.concatenate(parts)


def _reference(model: SearchModel, texts: Sequence[str]) -> bytes:
    found = [
        matches
        for start in range(0, len(texts), BATCH)
        for matches in model.search(texts[start : start + BATCH])
    ]
    return to_reference(
        [one[0].picture.month for one in found],
        [one[0].similarity for one in found],
        [drift_features(text, matches) for text, matches in zip(texts, found, strict=True)],
    )


def _golden(
    texts: NDArray[np.float32], gallery: NDArray[np.float32], is_test: NDArray[np.bool_]
) -> int:
    """The pair whose picture is the best of its text with the largest lead; not of the test."""
    rows = np.flatnonzero(~is_test)[:NUM_GOLDEN]
    similarities = texts[rows] @ gallery.T
    own = similarities[np.arange(len(rows)), rows]
    similarities[np.arange(len(rows)), rows] = -1.0
    return int(rows[(own - similarities.max(axis=1)).argmax()])
