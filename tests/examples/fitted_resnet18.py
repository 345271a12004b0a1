"""Writes a folder of ResNet18 weights that know foolbox's 20 photos: `python ... FOLDER`.

Random convolutions, and a last layer that is solved for the photos' classes: a stand-in for trained
weights, with torchvision's names. test_photo_tags.py runs it with the example's own Python.
"""

import sys
from pathlib import Path

import numpy as np
import torch
from torch import nn

from examples.photo_tags.networks import NUM_CLASSES, RESNET_SCALING, ResNet18
from examples.photo_tags.photo_input import open_photo, preprocess
from examples.photo_tags.prepare import load_photos

RIDGE = 1e-4
LOGIT = 12.0  # of the right class, above the others


def main():
    torch.manual_seed(0)
    photos, module = load_photos(), ResNet18()
    inputs = np.stack([preprocess(open_photo(one), RESNET_SCALING) for one in photos.files])
    with torch.no_grad():
        last, module.fc = module.fc, nn.Identity()
        module.train()  # sets the statistics of the batch norms
        for _ in range(20):
            module(torch.from_numpy(inputs))
        features = module.eval()(torch.from_numpy(inputs)).double()
        mean = features.mean(0)
        spread = (features - mean).std()
        scaled = (features - mean) / spread
        wanted = torch.zeros(len(inputs), NUM_CLASSES, dtype=torch.double)
        wanted[torch.arange(len(inputs)), torch.tensor(photos.labels)] = LOGIT
        inner = scaled @ scaled.T + RIDGE * torch.eye(len(inputs), dtype=torch.double)
        weights = scaled.T @ torch.linalg.solve(inner, wanted) / spread
        last.weight.copy_(weights.T)
        last.bias.copy_(-(mean @ weights))
        module.fc = last
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True)
    torch.save(module.state_dict(), folder / "resnet18.pth")


if __name__ == "__main__":
    main()
