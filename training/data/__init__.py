"""What networks are trained on: MNIST, rendered crops, fonts, garbage, own crops."""
