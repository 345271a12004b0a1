"""Whether the answers of another model than the digit reader have moved away from its reference.

The reference is what the champion answered on its test rows. The distances and limits are those of
the digit reader's rules. Knows nothing about what a feature or an answer means.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd

from capture.answer_rows import FEATURE, read_answers
from capture.archive import parse_window
from capture.store import open_store
from monitoring.distances import MIN_VALUES, class_mix_p, normed_distance
from monitoring.findings import Finding, Severity
from monitoring.rules import CLASS_MIX_P, DISTANCE_LIMIT, MIN_RECORDS, P99_LIMIT_MS

REFERENCE: Final = "reference.parquet"  # in the champion's folder
LEAST_SPREAD_FRAC: Final = 0.05  # of the mean: below it a column of the reference is one value


def to_reference(
    answers: Sequence[str],
    confidences: Sequence[float],
    features: Sequence[Mapping[str, float]],
) -> bytes:
    """The reference of a champion as Parquet, from its answers to the test rows."""
    rows = pd.DataFrame({"answer": answers, "confidence": np.array(confidences, np.float32)})
    for name in sorted({name for one in features for name in one}):
        rows[FEATURE + name] = np.array([one.get(name, np.nan) for one in features], np.float32)
    data: bytes = rows.to_parquet(index=False, compression="zstd")
    return data


def judge_answers(current: pd.DataFrame, reference: pd.DataFrame) -> list[Finding]:
    """Compare a window with the reference; the most moved first.

    Args:
        current: rows of `capture.answer_rows.read_answers`.
        reference: what `to_reference` wrote.
    """
    findings = []
    columns = ["confidence", *(name for name in reference if name.startswith(FEATURE))]
    for name in columns:
        if name not in current:
            text = f"{name} is not recorded"
            findings.append(Finding("missing", name, 1.0, 0.0, Severity.WATCH, text))
            continue
        least = max(abs(float(reference[name].mean())) * LEAST_SPREAD_FRAC, 1e-6)
        distance = normed_distance(current[name], reference[name], least_spread=least)
        if np.isnan(distance):
            least_values = min(current[name].count(), reference[name].count())
            text = f"{name} cannot be judged: {least_values} values, {MIN_VALUES} are needed"
            findings.append(Finding("missing", name, 1.0, 0.0, Severity.WATCH, text))
        elif distance > DISTANCE_LIMIT:
            text = f"{name} moved by {distance:.2f} standard deviations of the reference"
            findings.append(
                Finding("distance", name, distance, DISTANCE_LIMIT, Severity.WATCH, text)
            )
    p = class_mix_p(current["answer"], reference["answer"])
    if np.isnan(p):
        text = f"the mix of answers cannot be judged: {MIN_VALUES} answers are needed on each side"
        findings.append(Finding("missing", "answer", 1.0, 0.0, Severity.WATCH, text))
    elif p < CLASS_MIX_P:
        share = current["answer"].value_counts(normalize=True)
        change = share.sub(reference["answer"].value_counts(normalize=True), fill_value=0.0)
        most = change.abs().idxmax()
        text = f"the mix of answers changed (p = {p:.1g}); most of all {most}, {change[most]:+.1%}"
        findings.append(Finding("class_mix", "answer", p, CLASS_MIX_P, Severity.WATCH, text))
    p99_ms = float(current["total_ms"].quantile(0.99))
    if p99_ms > P99_LIMIT_MS:
        text = f"p99 latency inside the service is {p99_ms:.0f} ms"
        findings.append(Finding("latency", "total_ms", p99_ms, P99_LIMIT_MS, Severity.WATCH, text))
    return sorted(findings, key=lambda one: -one.value)


def main() -> int:
    """Print the findings of a window; the exit code: 1 if there are any."""
    parser = argparse.ArgumentParser(prog="python -m monitoring.answer_drift", description=__doc__)
    parser.add_argument("--champion", type=Path, required=True, help="folder with the reference")
    parser.add_argument("--store", required=True, help="of the captured answers")
    parser.add_argument("--window", default="today", help="days, as 2026-11-01..2026-11-07")
    args = parser.parse_args()
    window = parse_window(args.window, today=datetime.now(UTC).date())
    current = read_answers(open_store(args.store), window)
    if len(current) < MIN_RECORDS:
        sys.stdout.write(f"{len(current)} answers in {window}; {MIN_RECORDS} are needed\n")
        return 0
    findings = judge_answers(current, pd.read_parquet(args.champion / REFERENCE))
    lines = [one.text for one in findings] or ["nothing has moved"]
    sys.stdout.write("".join(f"{line}\n" for line in (f"{len(current)} answers", *lines)))
    return 1 if findings else 0


if __name__ == "__main__":
    raise SystemExit(main())
