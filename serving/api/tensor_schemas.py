"""The bodies of the Open Inference Protocol v2, with examples; what a tensor may be."""

from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

# Without these limits, pydantic would make an error for each of a million bad entries in a body.
MAX_TENSORS: Final = 4
MAX_DIMENSIONS: Final = 8
MAX_ID_CHARS: Final = 256
MAX_IMAGES: Final = 1024
MAX_JSON_IMAGES: Final = 256
OUTPUT_NAMES: Final = ("digit", "confidence", "accepted", "probabilities")
_COUNT: Final[dict[str, Any]] = {"type": "integer", "minimum": 1, "maximum": MAX_IMAGES}
_SHAPE: Final[dict[str, Any]] = {
    "anyOf": [
        {
            "prefixItems": [_COUNT, *[{"const": size} for size in rest]],
            "minItems": len(rest) + 1,
            "maxItems": len(rest) + 1,
        }
        for rest in ((28, 28), (1, 28, 28))
    ]
}


class InferInput(BaseModel):
    """The input tensor of the Open Inference Protocol. The shape is checked by tensors.py."""

    model_config = ConfigDict(strict=True)  # true, "1" and 1.0 are no sizes

    name: str = Field(json_schema_extra={"const": "image"})
    shape: list[int] = Field(
        examples=[[1, 28, 28]],
        min_length=1,
        max_length=MAX_DIMENSIONS,
        description="[N, 28, 28] or [N, 1, 28, 28]; N up to 256 in JSON, up to 1024 in binary.",
        json_schema_extra={"minItems": 3, "maxItems": 4, **_SHAPE},
    )
    datatype: Literal["UINT8", "FP32", "INT64", "BOOL"] = Field(
        examples=["UINT8"], json_schema_extra={"enum": ["UINT8", "FP32"]}
    )
    parameters: dict[str, Any] | None = Field(
        default=None, description="binary_data_size: the tensor's bytes behind the JSON."
    )
    data: list[Any] | None = Field(
        default=None,
        description="As many numbers as the shape says, flat or nested; null if they are binary.",
        json_schema_extra={
            "anyOf": [
                {
                    "type": "array",
                    # generators of clients know no list of types
                    "items": {"anyOf": [{"type": "number"}, {"type": "array", "items": {}}]},
                    "minItems": 1,
                    "maxItems": MAX_JSON_IMAGES * 784,
                },
                {"type": "null"},
            ]
        },
    )


class InferOutput(BaseModel):
    """A requested output of the Open Inference Protocol."""

    model_config = ConfigDict(strict=True)

    name: str = Field(examples=["digit"], json_schema_extra={"enum": list(OUTPUT_NAMES)})
    parameters: dict[str, Any] | None = Field(
        default=None,
        description="binary_data: true for binary; classification: the number of highest values.",
        examples=[{"classification": 3}],
    )


class InferRequest(BaseModel):
    """An inference request of the Open Inference Protocol v2."""

    model_config = ConfigDict(strict=True)

    id: str | None = Field(default=None, max_length=MAX_ID_CHARS)
    inputs: list[InferInput] = Field(
        min_length=1, max_length=MAX_TENSORS, json_schema_extra={"maxItems": 1}
    )
    outputs: list[InferOutput] | None = Field(default=None, max_length=MAX_TENSORS)
    parameters: dict[str, Any] | None = None


class InferTensor(BaseModel):
    """An output tensor of the Open Inference Protocol."""

    name: str = Field(examples=["digit"])
    shape: list[int] = Field(examples=[[1]])
    datatype: Literal["INT64", "FP32", "BOOL", "BYTES"] = Field(examples=["INT64"])
    parameters: dict[str, Any] | None = None
    data: list[Any] | None = None


class InferAnswer(BaseModel):
    """An inference answer of the Open Inference Protocol v2."""

    model_name: str = Field(examples=["digits"])
    model_version: str = Field(examples=["3"])
    id: str
    parameters: dict[str, Any] = Field(
        description="read_id: the key of the records of this read.",
        examples=[{"read_id": "0197f2a4-6f0e-7c31-9a5e-3d1f1c2b4a59"}],
    )
    outputs: list[InferTensor]
