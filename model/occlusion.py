"""Which ink an answer depends on: a patch of the image is erased, and the confidence lost is noted.

`Occlusion` says what to infer and what the result means. The caller infers, so that a server can do
it in short pieces.

Source:
    Zeiler and Fergus, "Visualizing and Understanding Convolutional Networks", 2014, section 4.2.
"""

from typing import Final

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from model.decision import softmax
from model.framed import SIDE_PX

PATCH_PX: Final = 5  # about two strokes wide
_HALF_PX: Final = PATCH_PX // 2


class Occlusion:
    """What to infer for one image: the image, then it once without each patch that has ink.

    Args:
        image: (1, 28, 28) float32.
        step_px: between two patches; 2 takes a quarter of the inferences of 1.
    """

    def __init__(self, image: NDArray[np.float32], step_px: int = 1) -> None:
        self._image = image
        self._step_px = step_px
        ink = np.pad(image[0] > 0, _HALF_PX)
        has_ink: NDArray[np.bool_] = sliding_window_view(ink, (PATCH_PX, PATCH_PX)).max(axis=(2, 3))
        centres = np.argwhere(has_ink[::step_px, ::step_px]) * step_px
        self._centres = [(row, column) for row, column in centres.tolist()]

    def __len__(self) -> int:
        """The number of images to infer."""
        return 1 + len(self._centres)

    def images(self, start: int, end: int) -> NDArray[np.float32]:
        """Some of the images to infer, (N, 1, 28, 28)."""
        end = min(end, len(self))
        images = np.repeat(self._image[np.newaxis], end - start, axis=0)
        for place in range(max(start, 1), end):
            row, column = self._centres[place - 1]
            rows = slice(max(0, row - _HALF_PX), row + _HALF_PX + 1)
            columns = slice(max(0, column - _HALF_PX), column + _HALF_PX + 1)
            images[place - start, 0, rows, columns] = 0.0
        return images

    def lost(self, logits: NDArray[np.float32], temperature: float) -> NDArray[np.float64]:
        """Confidence lost when a patch around each pixel is erased, where there is ink.

        Args:
            logits: (N, 10) of all images, in order.
            temperature: divides them.

        Returns:
            (28, 28) float64; 0 where the patch has no ink, negative where erasing adds confidence.
        """
        confidence = softmax(logits, temperature)[:, int(logits[0].argmax())]
        lost = np.zeros((SIDE_PX, SIDE_PX))
        step_px = self._step_px
        for (row, column), left in zip(self._centres, confidence[1:], strict=True):
            lost[row : row + step_px, column : column + step_px] = confidence[0] - left
        return lost
