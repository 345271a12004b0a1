"""Step `gate`: hold the evaluation against floors and champion.

Edge: reads the evaluation, writes the verdict; keeps a candidate that passed with its MLflow run.
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
    """Judge the evaluation and print every reason."""
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
    """All that `promote` reads: kept with the run, so that it can be promoted somewhere else."""
    files = [work.fit, work.int8, work.evaluation, work.report, work.predictions, work.verdict]
    return files + sorted(work.pictures.glob("*.png"))
