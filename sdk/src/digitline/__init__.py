"""Digitline for scanners: a crop in, a digit in time, whatever the network does."""

from digitline.answers import (
    Box,
    Candidate,
    CodeCandidate,
    CodeReading,
    DigitReading,
    FieldDigit,
    FieldReading,
    Reading,
    StoredLabel,
)
from digitline.async_client import AsyncDigitline
from digitline.exceptions import (
    AnswerUnreadable,
    CircuitOpen,
    ClientClosed,
    CropRefused,
    DeadlineExceeded,
    DigitlineError,
    KeyRefused,
    NetworkFailed,
    OfflineUnavailable,
    Problem,
    Refused,
    RequestRefused,
    ServiceUnavailable,
    Unanswered,
)
from digitline.sync_client import Digitline

__version__ = "1.0.0"

__all__ = [
    "AnswerUnreadable",
    "AsyncDigitline",
    "Box",
    "Candidate",
    "CircuitOpen",
    "ClientClosed",
    "CodeCandidate",
    "CodeReading",
    "CropRefused",
    "DeadlineExceeded",
    "DigitReading",
    "Digitline",
    "DigitlineError",
    "FieldDigit",
    "FieldReading",
    "KeyRefused",
    "NetworkFailed",
    "OfflineUnavailable",
    "Problem",
    "Reading",
    "Refused",
    "RequestRefused",
    "ServiceUnavailable",
    "StoredLabel",
    "Unanswered",
]
