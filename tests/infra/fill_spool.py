"""Reads the test crops with the champion and spools the records, as the service does.

Run by ``test_jobs.py`` with the Python of .venv: fill_spool.py FOLDER DAY NUMBER
"""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path

from capture.record import CaptureRecord, to_uint8
from capture.spool import Spool
from model import artifact
from model.classifier import Classifier
from model.decision import decide
from model.decode import decode
from model.preprocess import frame

CROPS = Path(__file__).resolve().parent.parent / "data" / "crops"


def main() -> None:
    folder, day, number = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    champion = artifact.load()
    classify, policy = Classifier(champion.onnx_bytes), champion.policy()
    noon_us = int(datetime.fromisoformat(f"{day}T12:00").replace(tzinfo=UTC).timestamp() * 1e6)
    spool = Spool(folder)
    files = sorted(CROPS.glob("*.png"))
    for index in range(number):
        crop = decode(files[index % len(files)].read_bytes())
        framed = frame(crop)
        (decision,) = decide(classify(framed.image[None]), policy)
        spool.append(
            CaptureRecord(
                request_id=f"0193465c-5800-7000-8000-{index:012d}",
                index=0,
                time_us=noon_us + index * 1000,
                site=f"office-{index % 3}",
                model_version=champion.version,
                digit=decision.digit,
                confidence=decision.confidence,
                accepted=decision.accepted,
                rejected_because=decision.rejected_because,
                threshold=policy.threshold,
                garbage=-4.0,
                probs=tuple(map(float, decision.probs)),
                image=to_uint8(framed.image),
                crop=crop,
                inverted=framed.inverted,
                passed_through=framed.passed_through,
                num_parts=1,
                num_dropped=0,
                aspect=framed.aspect,
                edges_touched=0,
                guard_ms=0.02,
                decode_ms=0.05,
                preprocess_ms=0.06,
                queue_ms=0.1,
                inference_ms=0.06,
                decision_ms=0.01,
                total_ms=0.4,
            )
        )
    spool.close()
    print(f"{number} records")


if __name__ == "__main__":
    main()
