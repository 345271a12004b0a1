"""The mail of an office, put together for the plant page: volume, hours, labels, targets. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np
from numpy.typing import NDArray

from console.office import error_targets, keyers
from console.office.error_targets import Figures, Plant, Target
from console.office.mail_days import NO_LABEL, Mail
from model.artifact import Artifact


@dataclass(frozen=True, slots=True)
class Volume:
    """How much mail is captured, and when; of whole days, where there is one."""

    reads_a_day: float
    hours: Sequence[float]  # share of a day's mail in each hour, UTC
    num_days: int


@dataclass(frozen=True, slots=True)
class OfficeFigures:
    """Everything that is counted of the reads that the champion has answered."""

    figures: Sequence[Figures]  # of each target, the strictest first
    plant: Plant
    volume: Volume
    is_own_day: bool  # the hours are the office's own; else the simulator's
    shares: Sequence[float]  # of the mail in each hour
    in_force: float | None  # the target of the newest read; None: none of the model's table
    threshold: float  # of the newest read
    num_reads: int
    num_marked: int
    num_audited: int
    num_rejected: int
    num_keyed: int  # of the rejected
    num_held: int  # reads of sites on hold


def office_figures(
    mail: Mail, artifact: Artifact, *, capture_frac: float, today: date
) -> OfficeFigures:
    """Count the mail of a model.

    Args:
        mail: at least one read is of the model.
        artifact: the champion, with its table of targets.
        capture_frac: the share of the reads that is captured.
        today: it is not over, so it is left out of the volume.
    """
    reads = mail.of_version(artifact.version)
    table = [
        Target(float(row["error_target"]), float(row["threshold"]))
        for row in sorted(artifact.manifest["thresholds"], key=lambda row: row["error_target"])
    ]
    volume = _volume(mail, today)
    accepted, is_marked = reads["accepted"], reads["audit_probability"] > 0
    plant = Plant(
        reads_a_day=volume.reads_a_day / capture_frac,
        audit_frac=float(is_marked.sum() / max(accepted.sum(), 1)),
    )
    newest = _newest(reads)
    is_own_day = volume.num_days >= keyers.MIN_DAYS
    return OfficeFigures(
        figures=error_targets.figures(reads, table, artifact.policy().garbage_threshold, plant),
        plant=plant,
        volume=volume,
        is_own_day=is_own_day,
        shares=volume.hours if is_own_day else keyers.usual_shares(),
        in_force=_target_of(float(newest["threshold"]), table),
        threshold=float(newest["threshold"]),
        num_reads=len(reads),
        num_marked=int(is_marked.sum()),
        num_audited=int((is_marked & reads["is_audit"]).sum()),
        num_rejected=int((~accepted).sum()),
        num_keyed=int((~accepted & (reads["label"] != NO_LABEL)).sum()),
        num_held=int(reads["is_held"].sum()),
    )


def _volume(mail: Mail, today: date) -> Volume:
    lacking = mail.damaged_days
    whole = [day for day in mail.days if day < today and day not in lacking] or list(mail.days)
    reads = mail.reads[np.isin(mail.reads["day"], np.array(whole, "datetime64[D]"))]
    counts = np.bincount(reads["hour"], minlength=24)
    return Volume(len(reads) / len(whole), (counts / len(reads)).tolist(), len(whole))


def _newest(reads: NDArray[np.void]) -> np.void:
    of_day = reads[reads["day"] == reads["day"].max()]
    newest: np.void = of_day[np.argmax(of_day["hour"])]
    return newest


def _target_of(threshold: float, table: Sequence[Target]) -> float | None:
    """The target whose threshold a record has; records have it rounded to float32."""
    same = [one.error_target for one in table if np.float32(one.threshold) == np.float32(threshold)]
    return max(same, default=None)
