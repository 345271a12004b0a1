"""Command `average`: the mean of the weights of several fits, as one candidate.

Edge: reads the work folders of the fits, writes the weights of the mean, logs to MLflow. The fits
must go on from each other (`fit --warm-start`), so that their weights lie in one valley.

Source:
    Wortsman et al., "Model soups: averaging weights of multiple fine-tuned models improves accuracy
    without increasing inference time", 2022.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import torch

from training import network as networks
from training import provenance, tracking
from training.adapting import mean_state
from training.config import Workspace
from training.evaluation import pictures
from training.step_error import StepError
from training.steps.files import FitRecord, load_fit, write_picture

logger = logging.getLogger(__name__)


def run(fits: Sequence[Path], work: Workspace) -> FitRecord:
    """Average the weights of the fits, in a new MLflow run; `export` comes next.

    Args:
        fits: their work folders, two or more, of one network.
        work: where the mean is written.

    Raises:
        StepError: fewer than two fits, one that has not run, or fits of different networks.
    """
    if len(fits) < 2:
        raise StepError("name the work folders of two fits or more")
    records = [load_fit(Workspace(folder)) for folder in fits]
    names = sorted({record.network for record in records})
    if len(names) > 1:
        raise StepError(f"these are fits of different networks: {', '.join(names)}")
    mean = mean_state([torch.load(Workspace(folder).weights, weights_only=True) for folder in fits])
    networks.build(names[0]).load_state_dict(mean)
    tracking.connect()
    parents = tuple(record.run_id for record in records)
    with tracking.run(name=f"{names[0]}-mean-of-{len(fits)}") as run_id:
        tracking.log_tags({"averaged": " ".join(parents)})
        record = replace(
            records[-1],
            run_id=run_id,
            git_commit=provenance.git_commit(),
            created=provenance.now(),
            averaged=parents,
        )
        work.folder.mkdir(parents=True, exist_ok=True)
        torch.save(mean, work.weights)
        work.fit.write_text(json.dumps(asdict(record), indent=1) + "\n")
        write_picture(work, "learning_curves.png", pictures.learning_curves(record.history))
        tracking.log_file(work.weights)
    logger.info("the mean of %d fits is in %s", len(fits), work.weights)
    return record
