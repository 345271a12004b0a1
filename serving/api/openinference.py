"""The Open Inference Protocol v2 (KServe, Triton): the handlers of /v2. tensors.py has the codec.

Source:
    KServe, "Open Inference Protocol V2".
"""

from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from model.errors import CropError
from serving.api import tensors
from serving.api.counting import ReadingCounter
from serving.api.digits import read_id_header
from serving.api.probes import ProbeHandlers
from serving.api.tensors import INPUT_NAME, MODEL_NAME, OUTPUTS, SIDE_PX
from serving.api.turns import answer_in_turn, json_s, parse_in_turn
from serving.messages import Answer, Reading, Request, json_answer
from serving.problems import Problem, problem_of
from serving.reading.reader import Reader

MODEL_PATH: Final = f"/v2/models/{MODEL_NAME}"


@dataclass(frozen=True, slots=True)
class OpenInferenceHandlers:
    """The handlers of the paths under /v2."""

    reader: Reader
    counter: ReadingCounter
    probes: ProbeHandlers

    async def server(self, request: Request) -> Answer:
        """The server's name, version and extensions."""
        return json_answer(server_metadata(request.model.version))

    async def live(self, request: Request) -> Answer:
        """Liveness."""
        return json_answer({"live": True})

    async def ready(self, request: Request) -> Answer:
        """Readiness of the server and of its one model."""
        answer = await self.probes.readyz(request)
        return json_answer({"ready": answer.status == 200}, status=answer.status)

    async def model(self, request: Request) -> Answer:
        """The model's input and output tensors."""
        return json_answer(model_metadata(request.model.version))

    async def infer(self, request: Request) -> Answer:
        """Read the images of one inference request."""
        call = await parse_in_turn(self.reader, request, tensors.parse, json_s(request.body))
        readings = await self.reader.read_many(call.sources, request, is_bulk=len(call.sources) > 1)
        for position, one in enumerate(readings):
            if isinstance(one, CropError):
                raise Problem(problem_of(one).status, f"image {position}: {one}")
        kept = [one for one in readings if isinstance(one, Reading)]
        self.counter.count_soon(request, kept)
        decisions = [one.decision for one in kept]
        build = partial(tensors.answer, call, decisions, request.model.version)
        answer = await answer_in_turn(self.reader, request, len(decisions), build)
        return answer._replace(headers=(*answer.headers, *read_id_header(request)))


def server_metadata(version: str) -> dict[str, Any]:
    """The answer to GET /v2."""
    extensions = ["binary_tensor_data", "classification"]
    return {"name": "digitline", "version": version, "extensions": extensions}


def model_metadata(version: str) -> dict[str, Any]:
    """The answer to GET /v2/models/digits."""
    return {
        "name": MODEL_NAME,
        "versions": [version],
        "platform": "onnxruntime_onnx",
        "inputs": [
            {
                "name": INPUT_NAME,
                "datatype": "UINT8",
                "shape": [-1, 1, SIDE_PX, SIDE_PX],
            }
        ],
        "outputs": [
            {"name": name, "datatype": datatype, "shape": shape}
            for name, (datatype, _, shape) in OUTPUTS.items()
        ],
    }
