"""What goes over the wire, with examples; the OpenAPI description is made from these.

Handlers write plain dicts of the same shape, because validating our own answers would cost more
than reading a digit; a contract test validates them instead.
"""

from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

RejectedBecause = Literal["low_confidence", "blank", "not_a_digit"]
# Without a limit, each of a million bad entries in one body would get an error message of its own.
MAX_TENSORS: Final = 4
MAX_DIMENSIONS: Final = 8
_ID = "0197f2a4-6f0e-7c31-9a5e-3d1f1c2b4a59"


class Candidate(BaseModel):
    """One possible digit."""

    digit: int = Field(ge=0, le=9, examples=[7])
    probability: float = Field(ge=0, le=1, examples=[0.9987])


class DigitAnswer(BaseModel):
    """The answer to one crop."""

    request_id: str = Field(examples=[_ID])
    digit: int | None = Field(ge=0, le=9, examples=[7], description="null: there is no ink.")
    confidence: float = Field(ge=0, le=1, examples=[0.9987])
    accepted: bool = Field(description="false: send the crop to a person.", examples=[True])
    rejected_because: RejectedBecause | None = Field(
        default=None, description="Only where accepted is false."
    )
    candidates: list[Candidate] = Field(description="By falling probability, at most top_k.")
    model_version: str = Field(examples=["3"])


class CropReading(BaseModel):
    """One crop's answer among many."""

    digit: int | None = Field(ge=0, le=9, examples=[7])
    confidence: float = Field(ge=0, le=1, examples=[0.9987])
    accepted: bool = Field(examples=[True])
    rejected_because: RejectedBecause | None = None
    candidates: list[Candidate]


class ProblemAnswer(BaseModel):
    """A refusal, as RFC 9457 has it."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "type": "urn:digitline:problem:unreadable-crop",
                    "title": "The crop cannot be read",
                    "status": 422,
                    "detail": "the crop is 4096x12 px; the longest side allowed is 2048",
                    "request_id": _ID,
                }
            ]
        }
    )
    type: str
    title: str
    status: int = Field(ge=400, le=599)
    detail: str = Field(description="Names the value, the limit and the remedy.")
    request_id: str


class CropProblem(BaseModel):
    """A crop among many that cannot be read."""

    error: ProblemAnswer


class DigitsAnswer(BaseModel):
    """The answers to many crops, in order."""

    request_id: str = Field(examples=[_ID])
    model_version: str = Field(examples=["3"])
    results: list[CropReading | CropProblem]


class CodeCandidateAnswer(BaseModel):
    """One possible postcode."""

    code: str = Field(examples=["10115"])
    probability: float = Field(ge=0, le=1, examples=[0.997])


class PostcodeAnswer(BaseModel):
    """The answer to an ordered list of digit crops."""

    request_id: str = Field(examples=[_ID])
    code: str | None = Field(examples=["10115"], description="null: no possible code fits.")
    confidence: float = Field(ge=0, le=1, description="Of the whole code.", examples=[0.997])
    accepted: bool = Field(examples=[True])
    rejected_because: RejectedBecause | Literal["no_valid_code"] | None = None
    candidates: list[CodeCandidateAnswer]
    digits: list[CropReading]
    model_version: str = Field(examples=["3"])


class ModelAnswer(BaseModel):
    """What is being served, and within which limits."""

    name: str = Field(examples=["digits"])
    version: str = Field(examples=["3"])
    sha256: str
    created: str
    metrics: dict[str, Any]
    thresholds: dict[str, float]
    input_limits: dict[str, Any]


class StatusAnswer(BaseModel):
    """Health, with the reasons where it is bad."""

    status: Literal["ok", "not_ready"]
    reasons: list[str] = []


class InferTensor(BaseModel):
    """One tensor of the Open Inference Protocol."""

    name: str = Field(examples=["image"])
    shape: list[int] = Field(examples=[[1, 28, 28]], max_length=MAX_DIMENSIONS)
    datatype: Literal["UINT8", "FP32", "INT64", "BOOL"] = Field(examples=["UINT8"])
    parameters: dict[str, Any] | None = None
    data: list[Any] | None = None


class InferRequest(BaseModel):
    """An inference request of the Open Inference Protocol v2."""

    id: str | None = None
    inputs: list[InferTensor] = Field(max_length=MAX_TENSORS)
    outputs: list[dict[str, Any]] | None = Field(default=None, max_length=MAX_TENSORS)
    parameters: dict[str, Any] | None = None


class InferAnswer(BaseModel):
    """An inference answer of the Open Inference Protocol v2."""

    model_name: str = Field(examples=["digits"])
    model_version: str = Field(examples=["3"])
    id: str
    outputs: list[InferTensor]
