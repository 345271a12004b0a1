"""A month's candidate as the files of a champion: text network, gallery, reference of its drift."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from examples.monthly_embeddings.features import Features
from examples.monthly_embeddings.judging import Refitted
from examples.monthly_embeddings.pairs import Snapshot
from examples.monthly_embeddings.projection import Projection
from examples.monthly_embeddings.search_model import SearchModel, drift_features, load_model
from examples.monthly_embeddings.towers import Weights
from model.champion_files import VerifiedFiles
from monitoring.answer_drift import to_reference
from training.gate_verdict import Verdict, at_most
from training.promotion import Candidate

NAME: Final = "monthly-embeddings"
PROJECTION: Final = "projection.npz"  # of the champion's folder; the next month is judged by it
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


def make_candidate(
    as_of: str,
    taken: Snapshot,
    features: Features,
    is_test: NDArray[np.bool_],
    refitted: Refitted,
    weights: Weights,
) -> tuple[Candidate, Verdict]:
    """Pack a refit; the verdict compares the packed text network with the fitted one, too."""
    fitted, pairs = refitted.projection, taken.pairs
    months = [one.month for one in taken.months for _ in one.pairs]
    shown = [{"name": pair.name, "month": m} for pair, m in zip(pairs, months, strict=True)]
    gallery = fitted.images(features.images)
    golden = _golden(fitted.texts(features.texts), gallery, is_test)
    content = io.BytesIO()
    np.save(content, gallery, allow_pickle=False)
    files = {
        "tokenizer.json": weights.tokenizer,
        "gallery.npy": content.getvalue(),
        "gallery.json": json.dumps(shown, ensure_ascii=False).encode(),
        PROJECTION: fitted.to_bytes(),
    }
    manifest: dict[str, Any] = {
        "month": as_of,
        "data_version": taken.version,
        "golden": {"text": pairs[golden].text, "name": pairs[golden].name},
    }
    onnx_bytes = text_network(weights.minilm, fitted)
    served = load_model(VerifiedFiles(onnx_bytes, "candidate", "", manifest, files))
    tested = [pair.text for pair, test in zip(pairs, is_test, strict=True) if test]
    difference = np.abs(_embed(served, tested) - fitted.texts(features.texts[is_test])).max()
    same = at_most("largest difference of a served embedding", float(difference), ONNX_DIFFERENCE)
    metrics = {
        "recall_at_5": refitted.recall,
        "num_pairs": float(len(pairs)),
        "num_test": float(is_test.sum()),
    }
    if refitted.champion_recall is not None:
        metrics["champion_recall_at_5"] = refitted.champion_recall
    candidate = Candidate(
        name=NAME,
        onnx_bytes=onnx_bytes,
        example={name: np.ones((1, 8), np.int64) for name in INPUTS},
        metrics=metrics,
        manifest=manifest,
        files={**files, "reference.parquet": _reference(served, tested)},
        data={"snapshot": taken.version, "networks": weights.towers.name},
    )
    return candidate, replace(refitted.verdict, reasons=(*refitted.verdict.reasons, same))


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
