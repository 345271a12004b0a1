"""Hash-check and load a champion folder; refuse everything that must not be served.

A session is created only after all checks of `model.champion_files` and those of the manifest.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from model.champion_files import FileRules, file_of, read_files, verify_files
from model.decision import Policy
from model.errors import ArtifactRefused

CHAMPION: Final = Path(__file__).parent / "champion"
SERVED_FILES: Final = ("manifest.json", "model.onnx", "golden.png")
MAX_MODEL_BYTES: Final = 5_000_000
RULES: Final = FileRules(
    names=SERVED_FILES,
    max_bytes=MAX_MODEL_BYTES,
    manifest_keys=(
        "version",
        "sha256",
        "temperature",
        "default_error_target",
        "thresholds",
        "garbage_threshold",
        "metrics",
        "golden",
    ),
)


@dataclass(frozen=True, slots=True)
class Golden:
    """A crop whose answer is known; read at start and by the readiness check."""

    png: bytes
    digit: int
    min_confidence: float


@dataclass(frozen=True, slots=True)
class Artifact:
    """A verified model with everything needed to serve it."""

    onnx_bytes: bytes
    version: str
    sha256: str
    manifest: dict[str, Any]  # the whole manifest.json, for GET /v1/model
    golden: Golden

    def policy(self, error_target: float | None = None) -> Policy:
        """The decision policy for an error target.

        Args:
            error_target: largest share of accepted reads that may be wrong, in (0, 1);
                None is the model's default.

        Raises:
            ArtifactRefused: no threshold of this model reaches the target.
        """
        target = self.manifest["default_error_target"] if error_target is None else error_target
        rows = [row for row in self.manifest["thresholds"] if row["error_target"] <= target]
        if not rows:
            lowest = min(row["error_target"] for row in self.manifest["thresholds"])
            raise ArtifactRefused(
                f"error target {target} is below the lowest that model {self.version} "
                f"was validated for ({lowest}); raise DIGITS_ERROR_TARGET"
            )
        row = max(rows, key=lambda row: float(row["error_target"]))
        return Policy(
            temperature=float(self.manifest["temperature"]),
            threshold=float(row["threshold"]),
            garbage_threshold=float(self.manifest["garbage_threshold"]),
        )


def load(folder: Path = CHAMPION) -> Artifact:
    """Read and verify a champion folder.

    Raises:
        ArtifactRefused: as `verify`.
    """
    return verify(read_files(folder, RULES))


def verify(files: Mapping[str, bytes]) -> Artifact:
    """Verify the files of a champion.

    Args:
        files: name -> content; those of SERVED_FILES.

    Raises:
        ArtifactRefused: a file is missing, differs from the manifest's sha256, is larger than
            5 MB, uses external data, a custom operator domain or an untested opset; or the manifest
            lacks a member or has an impossible one.
    """
    verified = verify_files(files, RULES)
    manifest = verified.manifest
    try:
        artifact = Artifact(
            onnx_bytes=verified.onnx_bytes,
            version=verified.version,
            sha256=verified.sha256,
            manifest=manifest,
            golden=_read_golden(files, manifest["golden"]),
        )
        for row in manifest["thresholds"]:
            artifact.policy(row["error_target"])
        artifact.policy()
    except (KeyError, TypeError, ValueError) as error:
        raise ArtifactRefused(f"manifest.json has an impossible member: {error!r}") from error
    return artifact


def _read_golden(files: Mapping[str, bytes], entry: dict[str, Any]) -> Golden:
    return Golden(
        png=file_of(files, entry["file"]),
        digit=int(entry["digit"]),
        min_confidence=float(entry["min_confidence"]),
    )
