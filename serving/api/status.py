"""/v1/model: the model and its limits."""

from dataclasses import dataclass
from typing import Any

from model.decode import MAX_AREA_PX, MAX_SIDE_PX, MIN_SIDE_PX
from serving.api.codes import MAX_DIGITS
from serving.api.digits import MAX_CROPS, MAX_PACKED_CROPS
from serving.api.payloads import IMAGE_TYPES
from serving.config import Settings
from serving.messages import Answer, Request, json_answer
from serving.reading.champion_watch import ChampionWatch


@dataclass(frozen=True, slots=True)
class StatusHandlers:
    """The handler of /v1/model."""

    settings: Settings
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
