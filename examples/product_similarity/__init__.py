"""Which products are most like a text: sentence embeddings of all-MiniLM-L6-v2."""
