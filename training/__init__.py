"""Training: from MNIST to a promoted champion. Imported by no serving code."""
