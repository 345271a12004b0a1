"""The result of preprocessing: the image in MNIST's frame, and what was found while making it.

Knows nothing about how a crop is framed.
"""

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

SIDE_PX: Final = 28
BOX_PX: Final = 20  # the longest side of the ink in MNIST's frame
WHITE: Final = 255
MIN_CONTRAST: Final = 20.0  # grey levels between paper and ink; scanner noise stays below


# A frozen dataclass takes three times as long to make (python -m loadtest bench --parts stages).
class Framed(NamedTuple):
    """What the model will see of a crop, and what preprocessing found in it."""

    image: NDArray[np.float32]  # (1, 28, 28) in [0, 1], ink bright
    inverted: bool  # the crop was light ink on dark paper
    passed_through: bool  # the crop was already in MNIST's frame
    num_parts: int  # separate pieces of ink kept
    num_dropped: int  # separate pieces of ink dropped as dirt, lines or neighbours
    aspect: float  # width / height of the ink
    edges_touched: int  # how many of the crop's four edges the kept ink reaches
