"""Tags of a photo: at most five of 1,000 ImageNet classes, in descending confidence."""
