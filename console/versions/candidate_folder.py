"""The candidates: work folders that `python -m training` writes.

Edge: reads them. A folder is of a candidate from its fit on, and can be compared from `evaluate`
on. Knows the files' JSON, which training/steps/files.py writes, and nothing of training's code.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from console.versions import gate_reasons, model_facts
from console.versions.gate_reasons import ShownVerdict
from console.versions.model_facts import OTHER_SHAPE, ModelFacts

_FIT, _EVALUATION, _VERDICT = "fit.json", "evaluation.json", "verdict.json"
MODEL: Final = "int8.onnx"
_OUTCOME, _RETRAIN = "outcome.json", "retrain.json"
PICTURES: Final = "pictures"
MAX_CANDIDATES: Final = 4  # columns that fit a page
_DEFAULT_ERROR_TARGET: Final = 0.001  # that training judges the sets at


@dataclass(frozen=True, slots=True)
class MailRow:
    """Candidate and champion on one site's labelled mail."""

    site: str
    num: int
    accuracy: tuple[float, float]  # of champion and candidate
    accepted: tuple[float, float]
    wrong: tuple[float, float]  # of the accepted


@dataclass(frozen=True, slots=True)
class Candidate:
    """What one work folder says."""

    name: str  # of the folder; names it in addresses
    folder: Path
    missing: str  # the step that has to run next; empty: it is evaluated
    facts: ModelFacts | None
    verdict: ShownVerdict | None
    is_champion: bool  # its model is served already
    lost_won: Mapping[str, tuple[int, int]]  # set -> crops only the champion, the candidate reads
    mail: tuple[MailRow, ...]
    told: str  # what people were told of a retraining; empty: nothing
    retrain_steps: Mapping[str, str]  # step -> when it was done
    sha256: str  # of its model file now; empty: none

    @property
    def refusal(self) -> str:
        """Why it cannot be promoted; empty where it can."""
        if self.missing:
            return f"{self.missing} has not run on this candidate."
        if self.is_champion:
            return "This candidate is the champion already."
        if self.verdict is None:
            return "The gate has not judged this candidate."
        if self.verdict.stale:
            return f"{self.verdict.stale}: run evaluate and gate again."
        if not self.verdict.passed:
            return f"The gate refused it: {len(self.verdict.failed)} limits are not met."
        return ""


def find(work: Path, champion_sha256: str | None) -> list[Candidate]:
    """The candidates in a work folder and its sub-folders, such as those of several seeds.

    Args:
        work: DIGITS_TRAINING_WORK.
        champion_sha256: of the served model; None: there is none.
    """
    try:
        folders = [work, *sorted(path for path in work.iterdir() if path.is_dir())]
    except OSError:
        return []
    found = [one for one in folders if (one / _FIT).is_file()]
    return [_read(folder, champion_sha256) for folder in found[:MAX_CANDIDATES]]


def _read(folder: Path, champion_sha256: str | None) -> Candidate:
    fit, evaluation = read_json(folder / _FIT) or {}, read_json(folder / _EVALUATION)
    saved, sha256 = read_json(folder / _VERDICT), _sha256(folder / MODEL)
    try:
        facts = (
            model_facts.of_candidate(
                f"Candidate {folder.name}", fit, evaluation, error_target=_DEFAULT_ERROR_TARGET
            )
            if evaluation
            else None
        )
        verdict = (
            gate_reasons.of_file(saved, candidate_sha256=sha256, champion_sha256=champion_sha256)
            if saved
            else None
        )
        lost_won, mail = _lost_won(evaluation or {}), _mail(evaluation or {})
    except OTHER_SHAPE:  # written by another version
        facts, verdict, lost_won, mail = None, None, {}, ()
    return Candidate(
        name=folder.name,
        folder=folder,
        missing=_next_step(folder, has_facts=facts is not None),
        facts=facts,
        verdict=verdict,
        is_champion=bool(sha256) and sha256 == champion_sha256,
        lost_won=lost_won,
        mail=mail,
        told=_told(read_json(folder / _OUTCOME) or {}),
        retrain_steps=_done(read_json(folder / _RETRAIN) or {}),
        sha256=sha256,
    )


def _told(event: Mapping[str, Any]) -> str:
    try:
        return f"{event['since']}: {event['title']}. {event['to_do']}"
    except KeyError:
        return ""


def _done(state: Mapping[str, Any]) -> dict[str, str]:
    done = state.get("done")
    return {str(step): str(when) for step, when in done.items()} if isinstance(done, dict) else {}


def _next_step(folder: Path, *, has_facts: bool) -> str:
    if not (folder / "fp32.onnx").exists() and not (folder / MODEL).exists():
        return "export"
    if not (folder / MODEL).exists():
        return "quantize"
    return "" if has_facts else "evaluate"


def _lost_won(evaluation: Mapping[str, Any]) -> dict[str, tuple[int, int]]:
    return {
        name: (row["num_lost"], row["num_won"])
        for name, row in evaluation.get("sets", {}).items()
        if row.get("num_lost") is not None and row.get("num_won") is not None
    }


def _mail(evaluation: Mapping[str, Any]) -> tuple[MailRow, ...]:
    return tuple(
        MailRow(
            site=str(row["site"]),
            num=int(row["num"]),
            accuracy=(row["champion_accuracy"], row["accuracy"]),
            accepted=(row["champion_accepted_frac"], row["accepted_frac"]),
            wrong=(row["champion_wrong_frac"], row["wrong_frac"]),
        )
        for row in evaluation.get("mail", ())
    )


def read_json(path: Path) -> dict[str, Any] | None:
    """A JSON object; None where there is no such file, or it is damaged."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def _sha256(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return ""
