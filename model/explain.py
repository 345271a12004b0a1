"""Explains one answer as a picture: crop, image, occlusion map, probabilities.

The occlusion map (model/occlusion.py) shows which ink the answer depends on. Knows nothing about
files.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from model.classifier import Classifier
from model.decision import Decision, Policy, decide
from model.framed import Framed
from model.occlusion import Occlusion
from model.preprocess import frame

PANEL_PX: Final = 224  # a whole multiple of the image's side
GAP_PX: Final = 16
TITLE_PX: Final = 26
INK_COLOUR: Final = (27, 31, 36)
QUIET_COLOUR: Final = (214, 218, 224)
BAR_COLOUR: Final = (9, 105, 218)


@dataclass(frozen=True, slots=True)
class Explanation:
    """Everything the picture shows."""

    crop: NDArray[np.uint8]  # (H, W)
    framed: Framed
    decision: Decision
    garbage: float
    occlusion: NDArray[np.float64]  # (28, 28), confidence lost when the ink around it is erased


def explain(crop: NDArray[np.uint8], classifier: Classifier, policy: Policy) -> Explanation:
    """Read one crop and find which ink the answer depends on.

    Args:
        crop: (H, W) uint8.
        classifier: the model.
        policy: its temperature and thresholds.

    Raises:
        BlankCrop: there is no ink to explain.
    """
    framed = frame(crop)
    scores = classifier(framed.image[np.newaxis])
    (decision,) = decide(scores, policy)
    occlusion = Occlusion(framed.image)
    return Explanation(
        crop=crop,
        framed=framed,
        decision=decision,
        garbage=float(scores.garbage[0]),
        occlusion=occlusion.lost(
            classifier(occlusion.images(0, len(occlusion))).logits, policy.temperature
        ),
    )


def draw(explanation: Explanation) -> Image.Image:
    """Draw the four panels side by side."""
    panels = (
        (f"the crop, {explanation.crop.shape[1]}x{explanation.crop.shape[0]} px", _crop_panel),
        ("what the model sees", _image_panel),
        ("what the answer rests on", _occlusion_panel),
        (_answer(explanation), _probability_panel),
    )
    width = len(panels) * (PANEL_PX + GAP_PX) + GAP_PX
    picture = Image.new("RGB", (width, PANEL_PX + TITLE_PX + 2 * GAP_PX), "white")
    pen = ImageDraw.Draw(picture)
    font = ImageFont.load_default(14)
    for position, (title, panel) in enumerate(panels):
        left = GAP_PX + position * (PANEL_PX + GAP_PX)
        pen.text((left, GAP_PX // 2), title, fill=INK_COLOUR, font=font)
        picture.paste(panel(explanation), (left, TITLE_PX + GAP_PX // 2))
    return picture


def _answer(explanation: Explanation) -> str:
    decision = explanation.decision
    verdict = "accepted" if decision.accepted else f"rejected: {decision.rejected_because}"
    return f"{decision.digit} ({decision.confidence:.1%}), {verdict}"


def _crop_panel(explanation: Explanation) -> Image.Image:
    picture = Image.fromarray(explanation.crop).convert("RGB")
    scale = PANEL_PX / max(picture.size)
    size = tuple(max(1, round(side * scale)) for side in picture.size)
    panel = Image.new("RGB", (PANEL_PX, PANEL_PX), QUIET_COLOUR)
    resized = picture.resize((size[0], size[1]), Image.Resampling.NEAREST)
    panel.paste(resized, ((PANEL_PX - size[0]) // 2, (PANEL_PX - size[1]) // 2))
    return panel


def _image_panel(explanation: Explanation) -> Image.Image:
    return _enlarged(np.repeat(1.0 - explanation.framed.image[0][..., np.newaxis], 3, axis=2))


def _occlusion_panel(explanation: Explanation) -> Image.Image:
    """Ink in grey; orange where erasing it lowers the confidence, blue where it raises it."""
    lost = explanation.occlusion
    strength = np.clip(np.abs(lost) / max(float(np.abs(lost).max()), 0.02), 0, 1)[..., np.newaxis]
    colour = np.where(lost[..., np.newaxis] > 0, (0.85, 0.35, 0.0), (0.1, 0.4, 0.9))
    paper = 1.0 - 0.45 * np.repeat(explanation.framed.image[0][..., np.newaxis], 3, axis=2)
    return _enlarged(paper * (1 - 0.8 * strength) + colour * 0.8 * strength)


def _enlarged(pixels: NDArray[np.floating]) -> Image.Image:
    grey = np.rint(np.clip(pixels, 0, 1) * 255).astype(np.uint8)
    return Image.fromarray(grey).resize((PANEL_PX, PANEL_PX), Image.Resampling.NEAREST)


def _probability_panel(explanation: Explanation) -> Image.Image:
    panel = Image.new("RGB", (PANEL_PX, PANEL_PX), "white")
    pen = ImageDraw.Draw(panel)
    font = ImageFont.load_default(13)
    step_px = PANEL_PX // 10
    for digit, probability in enumerate(explanation.decision.probs):
        top = digit * step_px
        length = round(probability * (PANEL_PX - 70))
        pen.text((2, top + 3), str(digit), fill=INK_COLOUR, font=font)
        pen.rectangle((16, top + 4, 16 + length, top + step_px - 4), fill=BAR_COLOUR)
        text = f"{probability:.1%}"
        pen.text((20 + length, top + 3), text, fill=INK_COLOUR, font=font)
    return panel
