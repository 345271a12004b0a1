"""What a key permits and a route requires. Imports nothing, so that making a key stays cheap."""

from typing import Literal

KeyScope = Literal["predict", "label", "review", "admin"]
