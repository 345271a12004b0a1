"""Other models on the rails of the digit reader: README.md has their figures."""
