"""/livez, /readyz and /metrics: whether the process answers and is ready, and its metrics."""

import asyncio
from dataclasses import dataclass
from typing import Any

from serving.messages import Answer, Request, json_answer
from serving.reading.health import Health
from serving.request_telemetry import METRICS_CONTENT_TYPE, RequestTelemetry
from serving.route import Route


@dataclass(frozen=True, slots=True)
class ProbeHandlers:
    """The handlers of /livez, /readyz and /metrics."""

    telemetry: RequestTelemetry
    health: Health

    def routes(self) -> dict[str, Route[Any]]:
        """Path -> route, for a table of routes."""
        return {
            "/livez": Route("livez", "GET", self.livez, scope=None),
            "/readyz": Route("readyz", "GET", self.readyz, scope=None),
            "/metrics": Route("metrics", "GET", self.metrics, scope=None, is_internal=True),
        }

    async def livez(self, request: Request[Any]) -> Answer:
        """Liveness: the process answers."""
        return json_answer({"status": "ok"})

    async def readyz(self, request: Request[Any]) -> Answer:
        """Readiness: the golden crop is read correctly, and no other check fails."""
        reasons = await self.health.reasons_not_ready()
        self.telemetry.ready.set(not reasons)
        if reasons:
            return json_answer({"status": "not_ready", "reasons": reasons}, status=503)
        return json_answer({"status": "ok", "reasons": []})

    async def metrics(self, request: Request[Any]) -> Answer:
        """The metrics of all workers, in Prometheus' text format."""
        await asyncio.sleep(0)  # let the counting of answers that were just sent run first
        return Answer(self.telemetry.exposition(), content_type=METRICS_CONTENT_TYPE)
