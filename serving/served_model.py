"""A model in service: everything that answers depend on, exchanged as one reference.

A request takes the reference once, when it arrives, so that one version answers all of it.
"""

from dataclasses import dataclass

from model.artifact import Artifact
from model.classifier import Classifier
from model.decision import Policy


@dataclass(frozen=True, slots=True, eq=False)  # compared by identity
class ServedModel:
    """A verified champion, its session, and its policy for the error target in force."""

    artifact: Artifact
    policy: Policy
    classifier: Classifier

    @property
    def version(self) -> str:
        """The version that answers, records and metrics name."""
        return self.artifact.version

    @property
    def expected_reject_share(self) -> float:
        """The share of its validation digits that it rejected at the threshold in force."""
        rows = self.artifact.manifest["thresholds"]
        row = next(row for row in rows if float(row["threshold"]) == self.policy.threshold)
        return 1 - float(row["accepted_frac"])


def build_model(artifact: Artifact, error_target: float | None) -> ServedModel:
    """Load the session of a verified champion and warm it up.

    Raises:
        ArtifactRefused: no threshold of it reaches the error target.
        ModelError: it does not run.
    """
    model = ServedModel(artifact, artifact.policy(error_target), Classifier(artifact.onnx_bytes))
    model.classifier.warm_up()
    return model
