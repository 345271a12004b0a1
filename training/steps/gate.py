"""Step `gate`: compare the candidate with the floors and the champion.

Edge: reads the evaluation, writes the verdict; logs the files of a passed candidate to MLflow.
"""

from __future__ import annotations

import json
import logging
from dataclasses import asdict
from pathlib import Path

from training import gate_rules, tracking
from training.config import Workspace
from training.steps.files import CANDIDATE_FILES, load_evaluation, load_fit

logger = logging.getLogger(__name__)


def run(work: Workspace, floors: gate_rules.Floors) -> gate_rules.Verdict:
    """Apply the gate's rules to the evaluation and log every reason."""
    verdict = gate_rules.judge(load_evaluation(work), floors)
    work.verdict.write_text(json.dumps(asdict(verdict), indent=1) + "\n")
    for reason in verdict.reasons:
        logger.info("%s", reason)
    tracking.connect()
    with tracking.run(run_id=load_fit(work).run_id):
        tracking.log_tags({"gate": "passed" if verdict.passed else "failed"})
        tracking.log_file(work.verdict, folder="evaluation")
        for path in _promotable(work) if verdict.passed else ():
            tracking.log_file(
                path, folder=str(CANDIDATE_FILES / path.parent.relative_to(work.folder))
            )
    return verdict


def _promotable(work: Workspace) -> list[Path]:
    """All files that `promote` reads, so that `fetch` can get them for a promotion elsewhere."""
    files = [work.fit, work.int8, work.evaluation, work.report, work.predictions, work.verdict]
    return files + sorted(work.pictures.glob("*.png"))
