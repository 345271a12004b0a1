"""Step `fetch`: download a candidate that passed the gate in another run or place.

Edge: downloads from MLflow.
"""

from __future__ import annotations

import logging

from training import tracking
from training.config import Workspace
from training.step_error import StepError
from training.steps.files import CANDIDATE_FILES

logger = logging.getLogger(__name__)


def run(work: Workspace, run_id: str) -> None:
    """Fill the workspace with a candidate that passed the gate in another run or place.

    Raises:
        StepError: the run has no candidate that passed the gate.
    """
    tracking.connect()
    work.folder.mkdir(parents=True, exist_ok=True)
    if not tracking.fetch_files(run_id, CANDIDATE_FILES, work.folder):
        raise StepError(f"run {run_id} kept no candidate; only a run that passed the gate does")
    logger.info("%s is in %s: read report.html, then `promote`", run_id, work.folder)
