"""The bodies of requests and answers, with examples. The OpenAPI document is made from them.

Those of `/v2` are in `tensor_schemas.py`.

Handlers write plain dicts of the same shape: to validate each answer would cost more than to read
a digit. Contract tests validate the answers instead.
"""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from serving.api.tensor_schemas import MAX_IMAGES

RejectedBecause = Literal["low_confidence", "blank", "not_a_digit", "site_on_hold"]
_ID = "0197f2a4-6f0e-7c31-9a5e-3d1f1c2b4a59"
_READ_ID = "Made by the service for each read: the key of its records, labels and erasure."


class Candidate(BaseModel):
    """One possible digit."""

    digit: int = Field(ge=0, le=9, examples=[7])
    probability: float = Field(ge=0, le=1, examples=[0.9987])


class DigitAnswer(BaseModel):
    """The answer to one crop."""

    request_id: str = Field(examples=[_ID])
    read_id: str = Field(examples=[_ID], description=_READ_ID)
    digit: int | None = Field(ge=0, le=9, examples=[7], description="null: the crop is blank.")
    confidence: float = Field(ge=0, le=1, examples=[0.9987])
    accepted: bool = Field(description="false: a person must read the crop.", examples=[True])
    rejected_because: RejectedBecause | None = Field(
        default=None, description="Present only if accepted is false."
    )
    candidates: list[Candidate] = Field(description="Most probable first; at most top_k.")
    model_version: str = Field(examples=["3"])


class CropReading(BaseModel):
    """The answer to one crop of many."""

    digit: int | None = Field(ge=0, le=9, examples=[7])
    confidence: float = Field(ge=0, le=1, examples=[0.9987])
    accepted: bool = Field(examples=[True])
    rejected_because: RejectedBecause | None = None
    candidates: list[Candidate]


class RowProblem(BaseModel):
    """One row of a body that has a mistake."""

    row: int = Field(ge=0, examples=[3], description="Its place in the list, from 0.")
    field: str = Field(examples=["label"])
    value: str = Field(examples=["12"])
    detail: str = Field(description="The remedy.")


class ProblemAnswer(BaseModel):
    """An error, in the format of RFC 9457."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "type": "urn:digitline:problem:unreadable-crop",
                    "title": "The crop cannot be read",
                    "status": 422,
                    "detail": "the crop is 5000x12 px; the longest side allowed is 4096",
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
    rows: list[RowProblem] | None = Field(
        default=None, description="Of /v1/labels: each row that has a mistake."
    )


class CropProblem(BaseModel):
    """The error of one crop of many that cannot be read."""

    error: ProblemAnswer


class DigitsAnswer(BaseModel):
    """The answers to many crops, in order."""

    request_id: str = Field(examples=[_ID])
    read_id: str = Field(examples=[_ID], description=_READ_ID)
    model_version: str = Field(examples=["3"])
    results: list[CropReading | CropProblem]


class CodeCandidateAnswer(BaseModel):
    """One possible postcode."""

    code: str = Field(examples=["10115"])
    probability: float = Field(ge=0, le=1, examples=[0.997])


class PostcodeAnswer(BaseModel):
    """The answer to an ordered list of digit crops."""

    request_id: str = Field(examples=[_ID])
    read_id: str = Field(examples=[_ID], description=_READ_ID)
    code: str | None = Field(examples=["10115"], description="null: no possible code.")
    confidence: float = Field(ge=0, le=1, description="Of the whole code.", examples=[0.997])
    accepted: bool = Field(examples=[True])
    rejected_because: RejectedBecause | Literal["no_valid_code"] | None = None
    candidates: list[CodeCandidateAnswer]
    digits: list[CropReading]
    model_version: str = Field(examples=["3"])


class Box(BaseModel):
    """A rectangle in pixels of the picture as sent, turned upright if its EXIF data say so."""

    x: int = Field(ge=0, examples=[41], description="Of the left edge.")
    y: int = Field(ge=0, examples=[18], description="Of the upper edge.")
    width: int = Field(ge=1, examples=[52])
    height: int = Field(ge=1, examples=[74])


class FieldDigitAnswer(BaseModel):
    """One digit of a field, and where it is."""

    box: Box
    digit: int = Field(ge=0, le=9, examples=[7])
    confidence: float = Field(ge=0, le=1, examples=[0.9987])
    accepted: bool = Field(examples=[True])
    rejected_because: RejectedBecause | Literal["code_rejected"] | None = Field(
        default=None, description="code_rejected: the digit is clear, the code is not accepted."
    )
    candidates: list[Candidate]


class FieldAnswer(BaseModel):
    """The answer to the image of a whole field."""

    request_id: str = Field(examples=[_ID])
    read_id: str = Field(examples=[_ID], description=_READ_ID)
    code: str | None = Field(examples=["10115"], description="null: no possible code.")
    confidence: float = Field(ge=0, le=1, description="Of the whole code.", examples=[0.997])
    accepted: bool = Field(examples=[True])
    rejected_because: RejectedBecause | Literal["no_valid_code", "no_code"] | None = Field(
        default=None,
        description="no_code: the ink looks like more or fewer digits; no_valid_code: none fits.",
    )
    detail: str | None = Field(
        default=None,
        description="Present only if no digits were found: why, in words.",
        examples=["the ink cannot be divided into 5 digits"],
    )
    candidates: list[CodeCandidateAnswer]
    digits: list[FieldDigitAnswer] = Field(description="In the order of writing.")
    model_version: str = Field(examples=["3"])


class Framing(BaseModel):
    """What framing found in a crop."""

    inverted: bool = Field(description="Light ink on dark paper.")
    passed_through: bool = Field(description="The crop was in MNIST's frame already.")
    num_parts: int = Field(ge=0, description="Separate pieces of ink kept.", examples=[1])
    num_dropped: int = Field(ge=0, description="Pieces dropped as dirt, lines or neighbours.")
    edges_touched: int = Field(ge=0, le=4, description="Edges of the crop that the ink reaches.")


class CropExplanation(CropReading):
    """The answer to one crop, or to one digit of a field, and why."""

    box: Box | None = Field(default=None, description="Present only of a digit of a field.")
    # mypy: wider than the base's; answers are only described by it
    rejected_because: RejectedBecause | Literal["code_rejected"] | None = None  # type: ignore[assignment]
    image: list[list[int]] | None = Field(
        description="What the model saw: 28 rows of 28 values, 255 is full ink; null: blank."
    )
    lost: list[list[float]] | None = Field(
        description="28 rows of 28: the confidence lost without the 5x5 px of ink around a place; "
        "negative where erasing it adds confidence; null: blank, or scanners left no time."
    )
    framing: Framing | None = Field(description="null: blank.")
    stages_ms: dict[str, float] = Field(
        description="Time of decode, preprocess, inference and decision.",
        examples=[{"decode": 0.11, "preprocess": 0.24, "inference": 0.09, "decision": 0.03}],
    )


class CodeExplanation(BaseModel):
    """The answer to the code that the crops form, or that the field shows."""

    code: str | None = Field(examples=["10115"])
    confidence: float = Field(ge=0, le=1, examples=[0.997])
    accepted: bool
    rejected_because: RejectedBecause | Literal["no_valid_code", "no_code"] | None = None
    detail: str | None = Field(default=None, description="Why a field has no digits.")
    candidates: list[CodeCandidateAnswer]


class ExplainAnswer(BaseModel):
    """The answers to a few crops, in order, with what each depends on. Nothing is recorded."""

    request_id: str = Field(examples=[_ID])
    model_version: str = Field(examples=["3"])
    threshold: float = Field(description="A lower confidence is not accepted.", examples=[0.98])
    explain_ms: float = Field(description="To read and explain all of them.", examples=[38.2])
    code: CodeExplanation | None = Field(description="null: one crop, or one cannot be read.")
    results: list[CropExplanation | CropProblem]


class ChampionStatus(BaseModel):
    """Where the model comes from, and what is there now."""

    source: str = Field(examples=["model/champion"])
    refused: str | None = Field(description="Why what is there now is not served; null: it is.")


class ModelAnswer(BaseModel):
    """The served model and its input limits."""

    name: str = Field(examples=["digits"])
    version: str = Field(examples=["3"])
    sha256: str
    created: str
    metrics: dict[str, Any]
    thresholds: dict[str, float]
    input_limits: dict[str, Any]
    champion: ChampionStatus


class SiteIncident(BaseModel):
    """Why a site stopped being trusted, or when it was trusted again."""

    reason: str = Field(
        examples=["turned"],
        description="dark, inverted, striped, blurred, turned (or mirrored) or unknown: a guess.",
    )
    statistic: str = Field(examples=["no_digit"], description="no_digit, rejects or framing.")
    since: str = Field(examples=["2026-11-26T08:15:30+00:00"])
    changed: str = Field(examples=["2026-11-26T08:15:30+00:00"])
    reads: int = Field(description="Reads from which it was found.", examples=[64])
    reject_share: float = Field(description="Of these.", examples=[0.61])
    usual_reject_share: float = Field(examples=[0.11])
    held_by: str | None = Field(description="The person who put it on hold; null: the service did.")
    released_by: str | None = Field(description="The releasing key's site, or recovery.")


class SiteAnswer(BaseModel):
    """One site. hold: its reads are not accepted. alert: they are, and it reads badly."""

    site: str = Field(examples=["berlin-1"])
    status: Literal["ok", "alert", "hold"]
    history_reads: int = Field(ge=0, description="Reads that its usual values are learned from.")
    incident: SiteIncident | None = Field(description="The last one.")


class SitesAnswer(BaseModel):
    """Every site that has sent a crop."""

    sites: list[SiteAnswer]


class LabelRequest(BaseModel):
    """One label: what a person says that a crop shows."""

    read_id: str = Field(examples=[_ID], description="Of the answer.", max_length=255)
    crop_index: int = Field(ge=0, le=MAX_IMAGES - 1, examples=[0], description="From 0.")
    label: Literal[0, 1, 2, 3, 4, 5, 6, 7, 8, 9] | Literal["not_a_digit", "unreadable"] = Field(
        examples=[7]
    )
    who: str = Field(examples=["keyer-17"], min_length=1, max_length=255)
    when: str = Field(
        examples=["2026-11-27T08:15:30Z"],
        description="The moment of keying, ISO 8601 with a time zone. Send the same one again in a "
        "repetition, so that the label is stored once.",
    )
    how: Literal["keyed", "audit", "import"] = Field(
        examples=["keyed"], description="audit: the crop is in the audit sample."
    )


class LabelsRequest(BaseModel):
    """Up to 1,024 labels."""

    labels: list[LabelRequest] = Field(min_length=1, max_length=MAX_IMAGES)


class StoredLabel(BaseModel):
    """A label that is on disk."""

    event_id: str = Field(description="The same for the same label sent again.")
    read_id: str = Field(examples=[_ID])
    crop_index: int = Field(ge=0, examples=[0])
    label: str = Field(examples=["7"])
    read: Literal["known", "unchecked"] = Field(
        description="unchecked: nobody could tell now whether the crop was captured."
    )


class LabelsAnswer(BaseModel):
    """The stored labels, in order."""

    results: list[StoredLabel]


class StatusAnswer(BaseModel):
    """Health, with the reasons when it is not ready."""

    status: Literal["ok", "not_ready"]
    reasons: list[str] = []
