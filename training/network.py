"""The networks: `default`, and `prototype`, with which the project started.

Pure: definitions only. Knows nothing about data, training or ONNX.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn


def build(name: str) -> nn.Module:
    """Make a network with fresh weights from torch's global generator.

    Every network maps (N, 1, 28, 28) float32 in [0, 1] to (logits (N, 10), garbage (N, 1)), or
    to logits alone when it has no garbage head.

    Raises:
        ValueError: for a name that is not in `NETWORKS`.
    """
    if name not in NETWORKS:
        raise ValueError(f"network {name!r} is not one of {', '.join(NETWORKS)}")
    return NETWORKS[name]()


class Prototype(nn.Module):
    """The network that this project started from: 34,826 parameters, logits only."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, 32, 3),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(32, 64, 3),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Dropout(0.5),
            nn.Linear(1600, 10),
        )

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """(N, 1, 28, 28) to logits (N, 10)."""
        logits: torch.Tensor = self.layers(image)
        return logits


@dataclass(frozen=True, slots=True)
class Shape:
    """The choices of the architecture search; the defaults are its winner."""

    stem: int = 32
    stem_px: int = 4
    widths: tuple[int, ...] = (64, 64, 96, 128)  # the first has stride 2: 7x7 places
    num_unpadded: int = 2  # of the last: 5x5, then 3x3 places
    flat_head: bool = True  # the heads get the features of each place, not only their mean


class DigitNet(nn.Module):
    """Dense 3x3 convolutions behind a 4x4 stride-2 stem: the shape that int8 speeds up most.

    A convolution at 28x28 with one input channel is memory-bound, so the stem halves the side
    first. Widths are multiples of 16 because VNNI kernels work on blocks of 16 channels.
    """

    def __init__(self, shape: Shape | None = None) -> None:
        super().__init__()
        shape = shape or Shape()
        layers: list[nn.Module] = [
            *_conv(1, shape.stem, kernel=shape.stem_px, stride=2, padding=(shape.stem_px - 1) // 2)
        ]
        channels = shape.stem
        for position, width in enumerate(shape.widths):
            stride = 2 if position == 0 else 1
            padding = 0 if position >= len(shape.widths) - shape.num_unpadded else 1
            layers += _conv(channels, width, kernel=3, stride=stride, padding=padding)
            channels = width
        self.body = nn.Sequential(*layers)
        self.flat_head = shape.flat_head
        if shape.flat_head:
            with torch.no_grad():
                channels *= self.body.eval()(torch.zeros(1, 1, 28, 28)).shape[2:].numel()
            self.body.train()
        self.digit_head = nn.Linear(channels, 10)
        self.garbage_head = nn.Linear(channels, 1)

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(N, 1, 28, 28) to logits (N, 10) and garbage (N, 1), higher = less digit-like."""
        features = self.body(image)
        seen = features.flatten(1) if self.flat_head else features.mean((2, 3))
        return self.digit_head(seen), self.garbage_head(seen)


def _conv(
    inputs: int, outputs: int, *, kernel: int, stride: int, padding: int
) -> tuple[nn.Module, nn.Module, nn.Module]:
    return (
        nn.Conv2d(inputs, outputs, kernel, stride, padding, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
    )


# What `--network NAME` fits.
NETWORKS: dict[str, Callable[[], nn.Module]] = {"default": DigitNet, "prototype": Prototype}


def split_outputs(outputs: object) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Logits and, when the network has that head, garbage."""
    if isinstance(outputs, tuple):
        logits, garbage = outputs
        return logits, garbage
    assert isinstance(outputs, torch.Tensor)
    return outputs, None


def to_layout(network: nn.Module, layout: torch.memory_format) -> nn.Module:
    """Change the memory layout of the weights (torch's stubs lack this overload)."""
    moved: nn.Module = network.to(memory_format=layout)  # type: ignore[call-overload]
    return moved


def num_parameters(network: nn.Module) -> int:
    """Trainable parameters."""
    return sum(weights.numel() for weights in network.parameters() if weights.requires_grad)
