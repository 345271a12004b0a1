"""One batch: its crops decoded and framed, read in one call, decided. Runs on the batcher's thread.

Knows nothing about queues, senders and records.
"""

import math
import time
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from model.decision import BLANK, Decision, decide
from model.errors import ModelError
from serving.messages import Reading, Request
from serving.reading.crop_cost import Source
from serving.reading.preparing import Prepared, prepare
from serving.served_model import ServedModel


class ReadRequest(NamedTuple):
    """One crop to read, and the request that it came with."""

    source: Source
    request: Request | None  # None: our own health check, which is not captured
    crop_index: int  # within the request
    model: ServedModel
    prepared: Prepared | None = None  # of a crop that was costly to decode
    is_bulk: bool = False  # one of many crops that no scanner waits for
    is_mail: bool = True  # false: a person tries the service out, so nothing is recorded
    is_field: bool = False  # a digit that was found in the image of a whole field


def read_by_model(requests: Sequence[ReadRequest]) -> list[Reading | Exception]:
    """Read a batch: in one call, but right after a swap once with each model."""
    model = requests[0].model
    if all(one.model is model for one in requests):
        return read_batch([one.prepared or one.source for one in requests], model)
    outcomes: dict[int, Reading | Exception] = {}
    for model in dict.fromkeys(one.model for one in requests):
        places = [place for place, one in enumerate(requests) if one.model is model]
        sources = [requests[place].prepared or requests[place].source for place in places]
        outcomes.update(zip(places, read_batch(sources, model), strict=True))
    return [outcomes[place] for place in range(len(requests))]


def read_batch(
    sources: Sequence[Source | Prepared], model: ServedModel
) -> list[Reading | Exception]:
    """Decode and frame each source, then infer all images in one call."""
    prepared = prepare(sources)
    images = [one.image for one in prepared if isinstance(one, Prepared) and one.image is not None]
    if not images:
        return [_blank(one) if isinstance(one, Prepared) else one for one in prepared]
    started = time.perf_counter()
    # np.stack takes twice as long for one crop (`python -m loadtest bench --parts latency`).
    scores = model.classifier(np.concatenate(images)[:, np.newaxis])
    inferred = time.perf_counter()
    decisions = decide(scores, model.policy)
    inference_ms = (inferred - started) * 1e3
    decision_ms = (time.perf_counter() - inferred) * 1e3
    decided = iter(zip(decisions, scores.garbage.tolist(), strict=True))
    readings: list[Reading | Exception] = []
    for one in prepared:
        if not isinstance(one, Prepared):
            readings.append(one)
        elif one.image is None:
            readings.append(_blank(one))
        else:
            decision, garbage = next(decided)
            readings.append(_reading(one, decision, garbage, inference_ms, decision_ms))
    return readings


def check_golden(model: ServedModel) -> None:
    """Read a model's golden crop with it, on the calling thread.

    Raises:
        ModelError: it is not read as it was when the model was promoted.
    """
    check_golden_reading(model, read_batch([model.artifact.golden.png], model)[0])


def check_golden_reading(model: ServedModel, outcome: Reading | Exception) -> None:
    """Compare what became of a model's golden crop with what is expected.

    Raises:
        ModelError: it is not read as it was when the model was promoted.
    """
    if isinstance(outcome, Exception):
        raise ModelError(f"the golden crop cannot be read: {outcome}") from outcome
    golden, decision = model.artifact.golden, outcome.decision
    if decision.digit != golden.digit or decision.confidence < golden.min_confidence:
        raise ModelError(
            f"the golden crop reads {decision.digit} at {decision.confidence:.3f}; "
            f"{golden.digit} at >= {golden.min_confidence} is expected"
        )


def held(reading: Reading) -> Reading:
    """The same reading, not accepted: its site is on hold."""
    return reading._replace(decision=reading.decision._replace(rejected_because="site_on_hold"))


def _blank(prepared: Prepared) -> Reading:
    return _reading(prepared, BLANK, -math.inf, 0.0, 0.0)


def _reading(
    prepared: Prepared,
    decision: Decision,
    garbage: float,
    inference_ms: float,
    decision_ms: float,
) -> Reading:
    return Reading(
        crop=prepared.crop,
        framed=prepared.framed,
        image=prepared.image,
        decision=decision,
        garbage=garbage,
        decode_ms=prepared.decode_ms,
        preprocess_ms=prepared.preprocess_ms,
        inference_ms=inference_ms,
        decision_ms=decision_ms,
    )
