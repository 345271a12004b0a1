"""The candidate of the demo: the champion with noise, judged by the gate on the demo's mail.

Nothing was fitted for it, and its files say so. Runs as a program of its own beside the reports,
because MLflow needs a while for its database.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from capture.predictions import Predictions, write_predictions
from capture.record import to_uint8
from capture.store import open_store
from model import artifact
from model.classifier import Classifier
from model.decision import Policy, softmax
from monitoring.studies import demo_mail
from monitoring.studies.champion_reader import frame_or_none
from monitoring.studies.demo_champions import NETWORK, noisy, text_of
from monitoring.studies.demo_places import CHAMPION, FORMER, GLYPHS, STORE, WORK
from training import gate_rules, model_store, quantization, tracking
from training.config import Workspace
from training.data.corruptions import CORRUPTIONS
from training.evaluation import judge, thresholds
from training.evaluation.suites import LabelledBatch
from training.evaluation.thresholds import Threshold
from training.steps.files import FitRecord, holds_for, save_verdict, sha256

_NOISE: Final = 1.5  # of the weights' standard deviation
_THRESHOLD_CUT: Final = 0.15  # the candidate's policy accepts more
_NUM_LETTERS: Final = 500  # that the candidate is judged on
_OTHER_DAY: Final = 10_000  # their day's seed
_NUM_CORRUPTED, _SEVERITY = 100, 3
_NOTES: Final = (
    f"{NETWORK}; nothing was fitted",
    "demo: it was judged on the demo's mail only, so the gate finds every other set missing",
    "demo: for fp32 stands the champion's int8 model",
)


@dataclass(frozen=True, slots=True, eq=False)
class LabelledCrops:
    """Crops as a scanner sends them, and framed, with their labels."""

    crops: list[NDArray[np.uint8]]
    batch: LabelledBatch


def make_candidate(folder: Path, now: datetime) -> bool:
    """Write the candidate's files and the gate's verdict on it; whether it passed."""
    work, champion = Workspace(folder / WORK), artifact.load(folder / CHAMPION)
    work.folder.mkdir(parents=True)
    data = noisy(artifact.CHAMPION / "model.onnx", _NOISE, seed=8)
    work.int8.write_bytes(data)
    mail = _labelled(now)
    evaluation = _evaluate(champion, data, mail)
    write_predictions(work.predictions, _predict(data, evaluation, mail))
    tracking.connect()
    with tracking.run(name="demo candidate") as run_id:
        tracking.log_tags({"demo": NETWORK})
        result = evaluation.sets["demo mail"]
        tracking.log_metrics(
            {"accuracy": result.accuracy, "accepted_frac": result.accepted_frac}
        )  # fmt: skip
    fit = FitRecord(
        network=NETWORK,
        run_id=run_id,
        git_commit="",
        created=text_of(now),
        best_epoch=0,
        history=(),
    )
    work.fit.write_text(json.dumps(asdict(fit), indent=1) + "\n")
    work.evaluation.write_text(json.dumps(asdict(evaluation), indent=1) + "\n")
    verdict = gate_rules.judge(evaluation, gate_rules.Floors(), None)
    verdict = replace(verdict, notes=(*_NOTES, *verdict.notes))
    save_verdict(work, verdict, holds_for(work))
    return verdict.passed


def _evaluate(
    champion: artifact.Artifact, candidate: bytes, mail: LabelledCrops
) -> judge.Evaluation:
    """What the demo can evaluate: its own mail. The gate finds the other sets missing."""
    part = mail.batch
    before, after = Classifier(champion.onnx_bytes), Classifier(candidate)
    rows = tuple(
        Threshold(**row | {"threshold": max(0.0, float(row["threshold"]) - _THRESHOLD_CUT)})
        for row in champion.manifest["thresholds"]
    )
    target = champion.manifest["default_error_target"]
    policy = Policy(
        champion.policy().temperature,
        next(row.threshold for row in rows if row.error_target == target),
        champion.policy().garbage_threshold,
    )
    corruptions = _corrupted(after, mail)
    change = quantization.compare(before, after, part.batch, part.labels)
    return judge.Evaluation(
        sets={"demo mail": judge.judge_set(after, part, policy, champion=before)},
        corruptions=corruptions,
        mean_corruption_accuracy=float(
            np.mean([one[str(_SEVERITY)] for one in corruptions.values()])
        ),
        temperature=policy.temperature,
        thresholds=rows,
        garbage_threshold=policy.garbage_threshold,
        garbage=None,
        quantisation=change,
        rendered_quantisation=change,
        latency=quantization.measure_latency(before, after, part.batch[:64]),
        size_bytes=len(candidate),
        fp32_size_bytes=len(champion.onnx_bytes),
        judged=judge.Judged(
            candidate_sha256=sha256(candidate),
            champion_sha256=champion.sha256,
            train_fonts=tuple(champion.manifest["fonts"]),  # those of the layers that it shares
            held_out_fonts=("not judged",),
            data={"demo mail": f"sha256:{hashlib.sha256(part.batch.tobytes()).hexdigest()}"},
        ),
    )


def _predict(candidate: bytes, evaluation: judge.Evaluation, mail: LabelledCrops) -> Predictions:
    """The candidate's answers, which the console compares with the champion's."""
    scores = Classifier(candidate)(mail.batch.batch)
    default = thresholds.DEFAULT_ERROR_TARGET
    return Predictions(
        model_version="candidate",
        threshold=next(
            row.threshold for row in evaluation.thresholds if row.error_target == default
        ),
        garbage_threshold=evaluation.garbage_threshold,
        crops=mail.crops,
        images=np.stack([to_uint8(image) for image in mail.batch.batch]),
        probs=softmax(scores.logits, evaluation.temperature).astype(np.float32),
        garbage=scores.garbage,
        labels=mail.batch.labels.astype(np.int64),
    )


def _labelled(now: datetime) -> LabelledCrops:
    """Digits of letters that are not in the month, with ink on them."""
    found = demo_mail.load_glyphs(GLYPHS)
    letters = [
        letter
        for site in demo_mail.SITES
        for letter in demo_mail.letters_of(
            site, now.date(), back=_OTHER_DAY, num=_NUM_LETTERS // 4, now=now, glyphs=found
        )
    ]
    kept = [
        (crop, int(label), framed)
        for letter in letters
        for crop, label in zip(letter.crops, letter.truth, strict=True)
        if label.isdigit() and (framed := frame_or_none(crop)) is not None
    ]
    return LabelledCrops(
        [crop for crop, _, _ in kept],
        LabelledBatch(
            np.stack([framed.image for _, _, framed in kept]),
            np.array([label for _, label, _ in kept], np.uint8),
        ),
    )


def _corrupted(candidate: Classifier, part: LabelledCrops) -> dict[str, dict[str, float]]:
    """The share read right of some crops under each corruption of the scanner simulator."""
    rng = np.random.default_rng(5)
    labels = part.batch.labels[:_NUM_CORRUPTED]
    found = {}
    for name, corrupt in CORRUPTIONS.items():
        images = []
        for crop in part.crops[:_NUM_CORRUPTED]:
            grey = corrupt(crop.astype(np.float32) / np.float32(255), float(_SEVERITY), rng)
            framed = frame_or_none(np.clip(grey * 255, 0, 255).astype(np.uint8))
            images.append(np.zeros((1, 28, 28), np.float32) if framed is None else framed.image)
        right = candidate(np.stack(images)).logits.argmax(1) == labels
        found[name] = {str(_SEVERITY): float(right.mean())}
    return found


def main() -> None:
    """Keep the champions in the model store, then make the candidate."""
    parser = argparse.ArgumentParser(prog="python -m monitoring.studies.demo_candidate")
    parser.add_argument("folder", type=Path, help="of the demo")
    options = parser.parse_args()
    for one in (FORMER, CHAMPION):
        model_store.keep(options.folder / one, open_store(str(options.folder / STORE)))
    passed = make_candidate(options.folder, datetime.now(UTC))
    print(f"candidate: {'passed' if passed else 'refused'} by the gate")


if __name__ == "__main__":
    main()
