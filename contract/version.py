"""The version of the product; the only place that has it. The model has its own (manifest)."""

from typing import Final

VERSION: Final = "1.0.0"
