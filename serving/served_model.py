"""A model in service: everything that answers depend on, exchanged as one reference.

A request takes the reference once, when it arrives, so that one version answers all of it.
"""

from dataclasses import dataclass

from model.artifact import Artifact
from model.classifier import Classifier
from model.decision import Policy
from model.errors import ArtifactRefused


@dataclass(frozen=True, slots=True, eq=False)  # compared by identity
class ServedModel:
    """A verified champion, its session, and its policy for the error target in force."""

    artifact: Artifact
    policy: Policy
    classifier: Classifier
    expected_reject_share: float  # of its validation digits, at the threshold in force

    @property
    def version(self) -> str:
        """The version that answers, records and metrics name."""
        return self.artifact.version

    @property
    def sha256(self) -> str:
        """Of its ONNX file."""
        return self.artifact.sha256


def build_model(artifact: Artifact, error_target: float | None) -> ServedModel:
    """Load the session of a verified champion and warm it up.

    Raises:
        ArtifactRefused: no threshold of it reaches the error target, or it does not say how much
            it rejects there.
        ModelError: it does not run.
    """
    policy = artifact.policy(error_target)
    expected_reject_share = _expected_reject_share(artifact, policy)
    classifier = Classifier(artifact.onnx_bytes)
    classifier.warm_up()
    return ServedModel(artifact, policy, classifier, expected_reject_share)


def _expected_reject_share(artifact: Artifact, policy: Policy) -> float:
    rows = artifact.manifest["thresholds"]
    row = next(row for row in rows if float(row["threshold"]) == policy.threshold)
    try:
        return 1 - float(row["accepted_frac"])
    except (KeyError, TypeError, ValueError) as error:
        raise ArtifactRefused(
            f"threshold {policy.threshold} of manifest.json has no accepted_frac: {error!r}"
        ) from error
