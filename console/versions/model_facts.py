"""A model in numbers: one column of the comparison. Pure.

A champion's numbers are in its manifest, a candidate's in what `evaluate` wrote. Knows nothing
about files.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

# A 6 that is turned by 180 degrees is a 9, so the gate only reports this kind.
_REPORTED_ONLY: Final = ("turned_180",)
_LATENCY_BATCHES: Final = ("1", "32")
# What reading a JSON file of another shape raises.
OTHER_SHAPE: Final = (AttributeError, KeyError, TypeError, ValueError, ZeroDivisionError)


@dataclass(frozen=True, slots=True)
class SetFacts:
    """One test set."""

    accuracy: float
    accepted_frac: float  # at the model's default error target
    wrong_frac: float  # of the accepted


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """One model. What older files do not say is None."""

    name: str  # "Champion 7", "Candidate", "Version 6"
    sha256: str
    run_id: str
    created: str
    git_commit: str
    network: str
    error_target: float
    sets: Mapping[str, SetFacts]
    harm_seen: float | None  # mean over the kinds of damage that training sees
    harm_unseen: float | None
    corruption_accuracy: float | None
    garbage_auroc: float | None
    latency_us: Mapping[str, float]  # batch size -> microseconds a digit
    size_bytes: int
    warm_start: str | None  # sha256 of the weights that the fit went on from
    averaged: tuple[str, ...]  # runs whose weights it is the mean of
    data_version: str | None  # of the labelled mail; None: fitted on none
    num_mail: int
    sites: Mapping[str, int]  # crops of mail that it was fitted on


def of_manifest(name: str, manifest: Mapping[str, Any]) -> ModelFacts:
    """The facts of a champion, served or kept.

    Args:
        name: heading of the column.
        manifest: its manifest.json.
    """
    metrics: Mapping[str, float] = manifest.get("metrics", {})
    fit: Mapping[str, Any] = manifest.get("fit", {})
    sets = {
        key.removesuffix("_accepted_frac"): SetFacts(
            accuracy=metrics[key.replace("_accepted_frac", "_accuracy")],
            accepted_frac=accepted,
            wrong_frac=metrics.get(key.replace("_accepted_frac", "_accepted_error_frac"), 0.0),
        )
        for key, accepted in metrics.items()
        if key.endswith("_accepted_frac") and key.replace("_accepted_frac", "_accuracy") in metrics
    }
    mail: Mapping[str, Any] = manifest.get("mail") or {}
    return ModelFacts(
        name=name,
        sha256=str(manifest["sha256"]),
        run_id=str(manifest.get("run_id", "")),
        created=str(manifest.get("created", "")),
        git_commit=str(manifest.get("git_commit", "")),
        network=str(manifest.get("network", "")),
        error_target=float(manifest.get("default_error_target", 0.001)),
        sets=sets,
        harm_seen=_mean_harm(metrics, "harm_seen_"),
        harm_unseen=_mean_harm(metrics, "harm_unseen_"),
        corruption_accuracy=metrics.get("corruption_severity_3_accuracy"),
        garbage_auroc=metrics.get("garbage_auroc"),
        latency_us={
            size: metrics[f"int8_us_batch_{size}"]
            for size in _LATENCY_BATCHES
            if f"int8_us_batch_{size}" in metrics
        },
        size_bytes=int(manifest.get("size_bytes", 0)),
        warm_start=fit.get("warm_start"),
        averaged=tuple(fit.get("averaged", ())),
        data_version=mail.get("data_version"),
        num_mail=int(mail.get("num_train", 0)),
        sites=mail.get("sites", {}),
    )


def of_candidate(
    name: str, fit: Mapping[str, Any], evaluation: Mapping[str, Any], *, error_target: float
) -> ModelFacts:
    """The facts of a candidate.

    Args:
        name: heading of the column.
        fit: fit.json of its work folder.
        evaluation: evaluation.json of its work folder.
        error_target: that its sets were judged at.
    """
    mail: Mapping[str, Any] = fit.get("mail") or {}
    harm = evaluation.get("harm", ())
    return ModelFacts(
        name=name,
        sha256=str((evaluation.get("judged") or {}).get("candidate_sha256", "")),
        run_id=str(fit.get("run_id", "")),
        created=str(fit.get("created", "")),
        git_commit=str(fit.get("git_commit", "")),
        network=str(fit.get("network", "")),
        error_target=error_target,
        sets={name: _set_facts(row) for name, row in evaluation["sets"].items()},
        harm_seen=_mean([row for row in harm if row["seen"]]),
        harm_unseen=_mean([row for row in harm if not row["seen"]]),
        corruption_accuracy=evaluation.get("mean_corruption_accuracy"),
        garbage_auroc=(evaluation.get("garbage") or {}).get("auroc"),
        latency_us={
            size: evaluation["latency"]["int8_us"][size]
            for size in _LATENCY_BATCHES
            if size in evaluation["latency"]["int8_us"]
        },
        size_bytes=int(evaluation["size_bytes"]),
        warm_start=fit.get("warm_start"),
        averaged=tuple(fit.get("averaged", ())),
        data_version=mail.get("data_version"),
        num_mail=int(mail.get("num_train", 0)),
        sites=mail.get("sites", {}),
    )


def _set_facts(row: Mapping[str, Any]) -> SetFacts:
    return SetFacts(
        accuracy=float(row["accuracy"]),
        accepted_frac=row["num_accepted"] / row["num"],
        wrong_frac=row["num_wrong"] / max(1, row["num_accepted"]),
    )


def _mean_harm(metrics: Mapping[str, float], start: str) -> float | None:
    kinds = {key.removeprefix(start): value for key, value in metrics.items()}
    return _mean_of(
        value
        for kind, value in kinds.items()
        if f"{start}{kind}" in metrics and kind not in _REPORTED_ONLY
    )


def _mean(harm: Iterable[Mapping[str, Any]]) -> float | None:
    """Mean over the kinds of accepted and wrong, of all posted of a kind."""
    posted: dict[str, int] = {}
    wrong: dict[str, int] = {}
    for row in harm:
        if row["kind"] not in _REPORTED_ONLY:
            posted[row["kind"]] = posted.get(row["kind"], 0) + row["num"]
            wrong[row["kind"]] = wrong.get(row["kind"], 0) + row["num_wrong"]
    return _mean_of(wrong[kind] / posted[kind] for kind in posted)


def _mean_of(values: Iterable[float]) -> float | None:
    found = list(values)
    return sum(found) / len(found) if found else None
