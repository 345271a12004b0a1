"""Step `gate`: compare the candidate with the floors, the champion and the anchor.

Edge: reads evaluation and anchor, writes the verdict; logs the files of a passed candidate to
MLflow and makes it `candidate` there.
"""

from __future__ import annotations

import logging
from pathlib import Path

from training import anchor, gate_rules, tracking
from training.config import Workspace
from training.gate_verdict import Verdict, missing
from training.steps.files import (
    CANDIDATE_FILES,
    champion_sha256,
    holds_for,
    load_evaluation,
    load_fit,
    save_verdict,
)

logger = logging.getLogger(__name__)


def run(work: Workspace, floors: gate_rules.Floors, champion: Path) -> Verdict:
    """Apply the gate's rules to the evaluation and log every reason.

    Args:
        work: the candidate's files.
        floors: the limits.
        champion: the current champion folder; the evaluation must have compared with it.
    """
    evaluation, holds = load_evaluation(work), holds_for(work)
    verdict = gate_rules.judge(evaluation, floors, anchor.load(champion))
    if holds.champion_sha256 != champion_sha256(champion):
        reason = missing("comparison with the current champion", "run `evaluate` again")
        verdict = Verdict((*verdict.reasons, reason), verdict.notes)
    save_verdict(work, verdict, holds)
    for reason in verdict.reasons:
        logger.info("%s", reason)
    for note in verdict.notes:
        logger.info("note %s", note)
    tracking.connect()
    run_id = load_fit(work).run_id
    with tracking.run(run_id=run_id):
        tracking.log_tags({"gate": "passed" if verdict.passed else "failed"})
        tracking.log_file(work.verdict, folder="evaluation")
        for path in _promotable(work) if verdict.passed else ():
            tracking.log_file(
                path, folder=str(CANDIDATE_FILES / path.parent.relative_to(work.folder))
            )
    made = tracking.find_by_run(run_id)
    if verdict.passed and made is not None:
        tracking.set_alias(made.version, tracking.CANDIDATE)
    return verdict


def _promotable(work: Workspace) -> list[Path]:
    """All files that `promote` reads, so that `fetch` can get them for a promotion elsewhere."""
    files = [
        *(work.fit, work.weights, work.int8, work.evaluation, work.report, work.predictions),
        work.verdict,
    ]
    return files + sorted(work.pictures.glob("*.png"))
