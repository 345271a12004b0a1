"""Gate, register, pack, promote and roll back a model of another kind than the digit reader.

Edge: writes the champion folder, talks to MLflow. The caller has fitted the model and judged it:
the verdict must have passed. Knows nothing about what the model answers.
"""

from __future__ import annotations

import hashlib
import json
import logging
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from capture.store import Store
from model.champion_files import MANIFEST, MANIFEST_SCHEMA, MODEL, sealed
from training import champion_switch, model_store, promotion_log, provenance, tracking
from training.champion_rollback import bring_back
from training.gate_verdict import Verdict
from training.promotion_log import Promotion

logger = logging.getLogger(__name__)


class PromotionRefused(RuntimeError):
    """The gate has not passed the candidate; the champion stays."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A fitted and judged model."""

    name: str  # of the experiment and of the model in the registry
    onnx_bytes: bytes
    example: Mapping[str, np.ndarray]  # one row of its inputs, for the registry
    metrics: Mapping[str, float]
    manifest: Mapping[str, Any]  # what is its own, beside version, sha256 and metrics
    files: Mapping[str, bytes]  # beside the model: what serving and drift reports need
    data: Mapping[str, str]  # name -> checksum of what it was fitted and judged on


def promote(
    candidate: Candidate,
    verdict: Verdict,
    champion: Path,
    store: Store,
    *,
    check: Callable[[Path], object],
    why: str,
) -> str:
    """Log a candidate with its verdict; where it passed, make it the champion.

    Args:
        candidate: the model.
        verdict: of the gate.
        champion: the folder that serving loads.
        store: keeps the champions, for a rollback.
        check: raises ArtifactRefused if serving would refuse a folder.
        why: one line for the promotion log.

    Returns:
        The new version.

    Raises:
        PromotionRefused: a comparison of the gate failed.
    """
    settle(candidate.name, champion)
    run_id = log(candidate, verdict)
    if not verdict.passed:
        failed = "; ".join(map(str, verdict.failures))
        raise PromotionRefused(f"the gate refuses {candidate.name}: {failed}")
    return make_champion(candidate, run_id, champion, store, check=check, why=why)


def settle(name: str, champion: Path) -> None:
    """Finish or undo what a killed promotion left, the registry's alias included."""
    tracking.connect(experiment=name)
    champion.parent.mkdir(parents=True, exist_ok=True)
    champion_switch.recover(champion, partial(_move_alias, champion, name))


def log(candidate: Candidate, verdict: Verdict) -> str:
    """Log a candidate with its verdict, and register it where that passed; the run's id."""
    for reason in verdict.reasons:
        logger.info("%s", reason)
    tracking.connect(experiment=candidate.name)
    with tracking.run(name=candidate.name) as run_id:
        tracking.log_tags({"gate": "passed" if verdict.passed else "failed", **candidate.data})
        tracking.log_metrics(candidate.metrics)
        if verdict.passed:
            _register(candidate)
    return run_id


def make_champion(
    candidate: Candidate,
    run_id: str,
    champion: Path,
    store: Store,
    *,
    check: Callable[[Path], object],
    why: str,
) -> str:
    """Pack a candidate whose verdict passed, and make it the champion; the new version.

    Args:
        candidate: the model.
        run_id: of `log`.
        champion: the folder that serving loads; `settle` has been called.
        store: keeps the champions, for a rollback.
        check: raises ArtifactRefused if serving would refuse a folder.
        why: one line for the promotion log.
    """
    version = promotion_log.next_version(champion)
    staged = champion_switch.stage(_pack(candidate, version, run_id), champion, check=check)
    for folder in (champion, staged):
        if folder.exists():
            model_store.keep(folder, store)
    entry = champion_switch.switch(
        staged,
        champion,
        when=provenance.now(),
        why=why,
        announce=partial(_move_alias, champion, candidate.name),
    )
    logger.info("champion of %s: %s -> %s", candidate.name, entry.from_version, entry.to_version)
    return version


def roll_back(
    name: str,
    champion: Path,
    store: Store,
    *,
    check: Callable[[Path], object],
    why: str,
    to_version: str | None = None,
) -> Promotion:
    """Make an earlier champion of a model the champion again.

    Args:
        name: of the candidate that was promoted.
        champion: the folder that serving loads.
        store: what `promote` keeps the champions in.
        check: raises ArtifactRefused if serving would refuse a folder.
        why: one line for the promotion log.
        to_version: None for the champion before this one.

    Raises:
        VersionError: there is no such champion, or the store has it damaged.
    """
    tracking.connect(experiment=name)
    announce = partial(_move_alias, champion, name)
    return bring_back(
        champion, store, to_version=to_version, why=why, check=check, announce=announce
    )


def _move_alias(champion: Path, name: str, entry: Promotion) -> None:
    """Point the registry's alias at the champion's run; a run it does not know is no error."""
    run_id = json.loads((champion / MANIFEST).read_text())["run_id"]
    registered = tracking.find_by_run(run_id, model=name)
    if registered is None:
        logger.info("version %s is not in the registry; its alias stays", entry.to_version)
    else:
        tracking.set_alias(registered.version, tracking.CHAMPION, model=name)


def _register(candidate: Candidate) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / MODEL
        path.write_bytes(candidate.onnx_bytes)
        tracking.register(
            path, model=candidate.name, example=candidate.example, tags=candidate.data
        )


def _pack(candidate: Candidate, version: str, run_id: str) -> dict[str, bytes]:
    manifest = {
        "schema": MANIFEST_SCHEMA,
        "name": candidate.name,
        "version": version,
        "created": provenance.now(),
        "sha256": hashlib.sha256(candidate.onnx_bytes).hexdigest(),
        "size_bytes": len(candidate.onnx_bytes),
        "run_id": run_id,
        "data": dict(candidate.data),
        "metrics": {name: round(value, 6) for name, value in candidate.metrics.items()},
        **candidate.manifest,
    }
    text = json.dumps(sealed(manifest), indent=1, ensure_ascii=False) + "\n"
    return {**candidate.files, MODEL: candidate.onnx_bytes, MANIFEST: text.encode()}
