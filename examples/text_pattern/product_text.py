"""A product -> the text that the model sees. Training and serving call the same function."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

WORD: Final = "[a-z0-9]+"  # of the vectorizer, in scikit-learn and in ONNX
MAX_NAME: Final = 200  # characters; the longest name of the data has 75
MAX_DESCRIPTION: Final = 2_000  # characters; the longest description of the data has 185
_WORDS: Final = re.compile(WORD)


@dataclass(frozen=True, slots=True)
class Product:
    """What is asked about."""

    name: str
    description: str


def to_text(product: Product) -> str:
    """Lower-case words of name and description, joined by single spaces.

    ONNX's tokenizer and scikit-learn's split this text alike; of other text they disagree about
    letters beyond ASCII and about the locale's lower case.
    """
    return " ".join(_WORDS.findall(f"{product.name} {product.description}".lower()))


def drift_features(product: Product, text: str) -> dict[str, float]:
    """Numbers of a product whose drift is measured."""
    letters = f"{product.name}{product.description}"
    return {
        "num_words": float(len(text.split())),
        "description_chars": float(len(product.description)),
        "beyond_ascii_share": sum(not one.isascii() for one in letters) / max(1, len(letters)),
    }
