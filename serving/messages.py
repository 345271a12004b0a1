"""What passes between the rooms: requests, readings, batch statistics, answers. No sockets."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Generic, Literal, NamedTuple, Protocol

import numpy as np
import orjson
from numpy.typing import NDArray
from typing_extensions import TypeVar

if TYPE_CHECKING:  # a service of another model loads nothing that reads digits
    from model.decision import Decision
    from model.framed import Framed
    from serving.served_model import ServedModel

JSON: Final = b"application/json"
Headers = tuple[tuple[bytes, bytes], ...]


class Versioned(Protocol):
    """A verified model: all that the edge and the metrics must know of it."""

    @property
    def version(self) -> str:
        """The version that answers, records and metrics name."""

    @property
    def sha256(self) -> str:
        """Of its file."""


# What answers: ours where nothing else is said.
Model = TypeVar("Model", bound=Versioned, default="ServedModel")

SCANNER, BULK, OTHER = "scanner", "bulk", "other"  # kinds of traffic; the p99 is of scanners


class RequestLabels(Generic[Model]):
    """The metric labels of one request, set as soon as they are known, and its model."""

    __slots__ = ("endpoint", "model", "site", "traffic")

    def __init__(self, model: Model, site: str = "") -> None:
        self.model = model
        self.endpoint = "none"
        self.site = site
        self.traffic = OTHER


# NamedTuples: creating a frozen dataclass takes three times as long, for each request and crop
# (python -m loadtest bench --parts saturation).
class Request(NamedTuple, Generic[Model]):
    """One request that the edge has admitted."""

    id: str  # the caller's, or the read id
    read_id: str  # ours: the key of what is recorded of it
    site: str
    content_type: str  # lower case, without parameters
    headers: Mapping[bytes, bytes]  # lower-case names
    query_string: bytes
    body: bytes
    started: float  # time.perf_counter() at arrival
    guard_ms: float  # from arrival to the complete body
    model: Model  # answers all of it, also when another one takes its place meanwhile
    path: str = ""
    labels: RequestLabels[Model] | None = None
    deadline_ms: int | None = None  # of the letter, from arrival; None: it does not wait
    sender: Hashable = None  # whose share of each pool and of the time it takes: a key or address


class Reading(NamedTuple):
    """One crop's decision, with everything that capture and telemetry record."""

    crop: NDArray[np.uint8] | None  # (H, W); None: the sender gave an image
    framed: Framed | None  # None: blank, or the sender gave an image
    image: NDArray[np.float32] | None  # (1, 28, 28), what the model saw; None: blank
    decision: Decision
    garbage: float
    decode_ms: float
    preprocess_ms: float  # an equal share of the batch's time
    inference_ms: float  # of the whole batch, which this crop waited for
    decision_ms: float


Result = Literal["same", "other_digit", "only_challenger_accepts", "only_champion_accepts"]


class Compared(NamedTuple):
    """Both answers to one crop: the one that was sent, and the challenger's."""

    read_id: str
    crop_index: int
    champion_version: str
    champion: Decision
    challenger: Decision
    version: str  # of the challenger

    @property
    def result(self) -> Result:
        """How they differ."""
        if self.champion.digit != self.challenger.digit:
            return "other_digit"
        if self.champion.accepted == self.challenger.accepted:
            return "same"
        return "only_champion_accepts" if self.champion.accepted else "only_challenger_accepts"


class BatchStats(NamedTuple):
    """One finished batch, for telemetry."""

    num_items: int
    queue_waits_s: Sequence[float]  # one per job
    run_s: float


class Answer(NamedTuple):
    """One complete answer."""

    body: bytes
    status: int = 200
    content_type: bytes = JSON
    headers: Headers = ()


def json_answer(content: Any, status: int = 200) -> Answer:
    """An answer with JSON content."""
    return Answer(orjson.dumps(content), status)
