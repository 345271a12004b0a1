"""Step `fetch`: get the files of a candidate that passed the gate in another run or place.

Edge: downloads from MLflow.
"""

from __future__ import annotations

import logging

from training import tracking
from training.config import Workspace
from training.steps.files import CANDIDATE_FILES, StepError

logger = logging.getLogger(__name__)


def run(work: Workspace, run_id: str) -> None:
    """Fill the workspace with a candidate that passed the gate in an earlier run, or elsewhere.

    Raises:
        StepError: the run kept no candidate.
    """
    tracking.connect()
    work.folder.mkdir(parents=True, exist_ok=True)
    if not tracking.fetch_files(run_id, CANDIDATE_FILES, work.folder):
        raise StepError(f"run {run_id} kept no candidate: did it pass the gate?")
    logger.info("%s is in %s: read report.html, then `promote`", run_id, work.folder)
