"""/v1/model, /livez, /readyz and /metrics: the model, its limits, health, metrics."""

import asyncio
from dataclasses import dataclass
from typing import Any

from model.decode import MAX_AREA_PX, MAX_SIDE_PX, MIN_SIDE_PX
from serving.api.codes import MAX_DIGITS
from serving.api.digits import MAX_CROPS, MAX_PACKED_CROPS
from serving.api.payloads import IMAGE_TYPES
from serving.config import Settings
from serving.messages import Answer, Request, json_answer
from serving.reading.champion_watch import ChampionWatch
from serving.reading.health import Health
from serving.telemetry import METRICS_CONTENT_TYPE, Telemetry


@dataclass(frozen=True, slots=True)
class StatusHandlers:
    """The handlers of /v1/model, /livez, /readyz and /metrics."""

    settings: Settings
    telemetry: Telemetry
    health: Health
    champion: ChampionWatch

    async def model(self, request: Request) -> Answer:
        """The served model and its input limits."""
        artifact, policy = request.model.artifact, request.model.policy
        manifest, refused = artifact.manifest, self.champion.refused
        content = {
            "name": manifest.get("name", "digits"),
            "version": artifact.version,
            "sha256": artifact.sha256,
            "created": manifest.get("created", ""),
            "metrics": manifest["metrics"],
            "thresholds": {
                "error_target": self.settings.error_target or manifest["default_error_target"],
                "confidence": policy.threshold,
                "garbage": policy.garbage_threshold,
                "temperature": policy.temperature,
            },
            "input_limits": self._input_limits(),
            "champion": {"source": self.champion.url, "refused": refused},
        }
        return json_answer(content)

    def _input_limits(self) -> dict[str, Any]:
        return {
            "content_types": list(IMAGE_TYPES),
            "min_side_px": MIN_SIDE_PX,
            "max_side_px": MAX_SIDE_PX,
            "max_area_px": MAX_AREA_PX,
            "max_body_bytes": self.settings.max_body_bytes,
            "max_bulk_body_bytes": self.settings.max_bulk_body_bytes,
            "max_crops": MAX_CROPS,
            "max_packed_crops": MAX_PACKED_CROPS,
            "max_postcode_digits": MAX_DIGITS,
        }

    async def livez(self, request: Request) -> Answer:
        """Liveness: the process answers."""
        return json_answer({"status": "ok"})

    async def readyz(self, request: Request) -> Answer:
        """Readiness: the golden crop is read correctly, and no other check fails."""
        reasons = await self.health.reasons_not_ready()
        self.telemetry.ready.set(not reasons)
        if reasons:
            return json_answer({"status": "not_ready", "reasons": reasons}, status=503)
        return json_answer({"status": "ok", "reasons": []})

    async def metrics(self, request: Request) -> Answer:
        """The metrics of all workers, in Prometheus' text format."""
        await asyncio.sleep(0)  # let the counting of answers that were just sent run first
        return Answer(self.telemetry.exposition(), content_type=METRICS_CONTENT_TYPE)
