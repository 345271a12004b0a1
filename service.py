"""The BentoML service. serving/build.py builds what runs in front of BentoML's application.

`bentoml serve service:DigitService` serves the shipped champion. `python -m serving` does the same,
but checks the settings first and runs its own supervisor and server.
"""

from typing import TYPE_CHECKING, Annotated, Any

import bentoml
import numpy as np
from bentoml.validators import DType, Shape
from numpy.typing import NDArray

if TYPE_CHECKING:
    from collections.abc import Callable

    from serving.edge.edge import Edge
    from serving.served_model import ServedModel


class EdgeService(bentoml.Service[Any]):  # type: ignore[misc]  # BentoML ships no usable types
    """A BentoML service with our ASGI application in front of BentoML's."""

    def to_asgi(self, is_main: bool = True) -> "Edge":  # noqa: FBT001, FBT002  BentoML's signature
        """Build the application of one worker; called once in each worker process."""
        from serving.build import build_edge

        edge = build_edge(super().to_asgi(is_main=is_main))
        self.inner.model_in_force = staticmethod(edge.model_in_force)  # DigitService's
        return edge


@bentoml.service(
    name="digits",
    service_class=EdgeService,
    traffic={"timeout": 60},
    metrics={"enabled": False},  # serving/telemetry.py exports them at /metrics
    logging={"access": {"enabled": False}},
)
class DigitService:
    """Reads handwritten digits through BentoML's own API. Scanners use /v1/digit."""

    model_in_force: "Callable[[], ServedModel]"  # set before BentoML makes the instance

    @bentoml.api(batchable=True, max_batch_size=256, max_latency_ms=1000)  # type: ignore[untyped-decorator]
    def classify(
        self, images: Annotated[NDArray[np.float32], Shape((-1, 28, 28)), DType("float32")]
    ) -> NDArray[np.float32]:
        """Probabilities of framed images, batched by BentoML's own dispatcher.

        Args:
            images: (N, 28, 28) float32 in [0, 1], ink bright.

        Returns:
            (N, 10) float32. Rows that are no images (a NaN, a value outside [0, 1]) get only NaN:
            an exception here would fail every caller in the batch.
        """
        from model.decision import softmax

        model = self.model_in_force()
        rows = np.asarray(images, dtype=np.float32).reshape(-1, 1, 28, 28)
        is_image = ((rows >= 0) & (rows <= 1)).all(axis=(1, 2, 3))
        probs = np.full((len(rows), 10), np.nan, dtype=np.float32)
        if is_image.any():
            logits = model.classifier(rows[is_image]).logits
            probs[is_image] = softmax(logits, model.policy.temperature)
        return probs
