"""Pages for people: keying, drift by site, the plant's figures, models. `python -m console`."""
